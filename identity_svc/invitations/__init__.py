"""Invitations: making, sending, accepting, declining."""
