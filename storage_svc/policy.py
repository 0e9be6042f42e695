"""Who may call which RPC of this package at all; project_svc decides the rest.

One row for each RPC that is served, none by default: a new RPC without a row
cannot be called, and `tests/contract/test_served.py` says so.
"""

from __future__ import annotations

from services.rpc.policy import USER, Policy, rows, service

__all__ = ["POLICY"]

POLICY: Policy = {
    **rows(
        "workspace.storage.v1.StorageService",
        USER,
        "CreateUpload",
        "CreateMultipartUpload",
        "SignUploadParts",
        "ListUploadParts",
        "CompleteUpload",
        "AbortUpload",
        "ListUploads",
        "CreateDownload",
        "BatchCreateDownloads",
        "GetObjectInfo",
        "RelocateProject",
        "RevokeTransfers",
    ),
    **rows(
        "workspace.storage.v1.StorageService",
        service("project_svc"),
        "CopyObject",
        "DeleteObject",
        "MarkAvailable",
    ),
    **rows(
        "workspace.storage.v1.StorageService",
        service("identity_svc", "project_svc"),
        "GetHomeUsage",
    ),
    **rows(
        "workspace.storage.v1.CatalogService",
        USER,
        "GetBackendCatalog",
        "GetBackendSelection",
        "GetParity",
    ),
}
