"""Backup and restore of a whole workspace, the same for every backend."""
