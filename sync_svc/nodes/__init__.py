"""Nodes: who syncs with a surface, which incarnation, and how far it has read."""
