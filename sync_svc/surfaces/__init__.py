"""Surfaces: a record store and an object store opened together."""
