"""Figures, by one command: `python -m tests.bench`. Not part of the tests: a machine's load would fail them."""
