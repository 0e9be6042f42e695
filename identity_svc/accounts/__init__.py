"""Application accounts: their rows, members, owners, quotas and end."""
