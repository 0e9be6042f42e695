"""Power loss without pulling a plug: a file system that forgets what was not synced."""
