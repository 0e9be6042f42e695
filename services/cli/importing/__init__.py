"""`wm import`: a folder into a project, in parallel and resumable."""
