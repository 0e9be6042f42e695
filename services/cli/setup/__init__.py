"""`wm setup`: one command for each provider, one printed job (`job.py`)."""
