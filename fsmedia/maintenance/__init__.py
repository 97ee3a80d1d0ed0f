"""Whole stores: sweeps, leftovers, verify and repair, erasure, deduplication, sync. Each runs in windows."""
