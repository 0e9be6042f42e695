"""Documents: rows, files, places, links, search, and what becomes of them."""
