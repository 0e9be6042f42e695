"""Teams: their rows, members, tree, and those from earlier systems."""
