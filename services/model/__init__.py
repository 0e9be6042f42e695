"""The shared workspace model: rules about the records. Pure: no I/O, no SDK."""
