"""Identity: users, accounts, teams, preferences, sessions and membership facts."""
