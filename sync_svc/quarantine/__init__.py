"""Quarantine: incoming versions that are kept aside, and why."""
