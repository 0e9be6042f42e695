"""Runs: one push or pull, from its start to its history."""
