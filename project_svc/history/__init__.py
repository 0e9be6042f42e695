"""History and events: records, activity, its verification, watches, webhooks."""
