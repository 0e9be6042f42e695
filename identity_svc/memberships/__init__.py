"""Membership facts for the other services: point reads, lists, watches, dry runs."""
