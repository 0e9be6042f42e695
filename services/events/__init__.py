"""Events: what happened, told to watchers, webhooks and mail (the outbox relay)."""
