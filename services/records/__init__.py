"""RecordStore: one portable class over a small driver per database."""
