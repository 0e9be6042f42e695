"""Dry runs: who would gain and lose what by a change that is not made."""
