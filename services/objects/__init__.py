"""ObjectStore: one portable class over a small driver per store."""
