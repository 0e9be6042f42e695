"""Users: signing in, sessions, tokens, linked identities, preferences, export and erasure."""
