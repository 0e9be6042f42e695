"""Transfers, uploads and the backend catalog.

The service owns the `upload` family and the object store. It knows nothing of
permissions or documents: both are asked of project_svc on every call.
"""
