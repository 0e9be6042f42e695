"""Collection: tombstones and objects that nobody needs any more."""
