"""Whole stores: sweeps, leftovers, verify and repair, erasure, sync. Each runs in windows."""
