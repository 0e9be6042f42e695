"""Connections: manifests that say how to open a surface, and their checks."""
