"""Projects, who may do what on them, their documents and history.

`access.py` is the gate every RPC passes; `module.py` assembles the services.
"""
