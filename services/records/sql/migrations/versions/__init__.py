"""One module per schema version. A version is never edited after its release."""
