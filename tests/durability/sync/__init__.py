"""kill -9 of workspaces that sync, over real stores."""
