"""A crash before and after every durable step of a story, one after the other."""
