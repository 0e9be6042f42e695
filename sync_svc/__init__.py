"""Sync: moves versions between this workspace and its connections, and lets people decide."""
