"""`wm setup azure`: the baseline resources of a workspace, made or hardened.

`desired.py` says what is wanted, as data. For each resource a module reads what is
there and plans the difference; `job.py` applies it. Nothing is ever removed.
"""
