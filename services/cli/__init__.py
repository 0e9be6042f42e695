"""`wm`: the command line of the workspace."""
