"""Conflicts: what people must decide, and their decisions."""
