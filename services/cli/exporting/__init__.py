"""`wm export`: a project as a folder, verified and resumable."""
