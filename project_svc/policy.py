"""Who may call which RPC of this package at all; use cases decides the rest.

One row for each RPC that is served, none by default: a new RPC without a row
cannot be called, and `tests/contract/test_served.py` says so.
"""

from __future__ import annotations

from services.rpc.policy import USER, Policy, rows, service, user_or_service

__all__ = ["ASKING_SERVICES", "POLICY"]

ASKING_SERVICES = frozenset({"identity_svc", "project_svc", "storage_svc", "sync_svc"})
"""Services that may ask about any user without `manage_access`."""

POLICY: Policy = {
    **rows(
        "workspace.project.v1.ProjectService",
        USER,
        "CreateProject",
        "GetProject",
        "ListProjects",
        "UpdateProject",
        "AssignProject",
        "SetProjectStatus",
        "DeleteProject",
        "ListTrash",
        "RestoreProject",
        "PurgeProject",
        "SetLegalHold",
    ),
    **rows(
        "workspace.project.v1.ProjectService",
        service("identity_svc"),
        "BatchGetBillingScopes",
    ),
    **rows(
        "workspace.project.v1.GrantService",
        USER,
        "CreateGrant",
        "UpdateGrant",
        "RevokeGrant",
        "ListGrants",
        "PreviewAccessChange",
        "PreviewMembershipChange",
        "RequestAccess",
        "ListAccessRequests",
        "DecideAccessRequest",
    ),
    **rows(
        "workspace.project.v1.GrantService",
        service("identity_svc"),
        "RevokeMemberGrants",
        "CreateInvitedGrant",
        "ClaimProject",
        "FindOrphanedProjects",
        "SurveyAccountProjects",
    ),
    **rows(
        "workspace.project.v1.PermissionService",
        user_or_service(*sorted(ASKING_SERVICES)),
        "CheckPermission",
        "BatchCheckPermissions",
        "GetEffectivePermissions",
        "ListAccessibleProjects",
        "WatchPermissions",
        "ListProjectUsers",
        "ExplainPermission",
    ),
    **rows(
        "workspace.project.v1.DocumentService",
        USER,
        "CreateDocument",
        "GetDocument",
        "ListDocuments",
        "UpdateDocument",
        "CreateRevision",
        "ListRevisions",
        "MoveDocument",
        "ArchiveDocument",
        "DeleteDocument",
        "RestoreDocument",
        "PurgeDocument",
        "CreateDerivedArtifact",
        "ListDerivedArtifacts",
        "LinkObjects",
        "UnlinkObjects",
        "ListLinks",
        "GetDocumentAsOf",
        "BatchUpdateDocuments",
        "CopyDocument",
        "SearchDocuments",
    ),
    # The user acts through the token that storage forwards.
    **rows(
        "workspace.project.v1.DocumentService",
        service("storage_svc"),
        "AuthorizeFile",
        "BatchAuthorizeFiles",
        "AttachFile",
        "ListProjectFiles",
        "MoveFileKey",
    ),
    # The user acts through the token that sync forwards.
    **rows("workspace.project.v1.DocumentService", service("sync_svc"), "CopyDocumentVersion"),
    **rows(
        "workspace.project.v1.HistoryService",
        USER,
        "ListMetadataRecords",
        "AppendMetadataRecord",
        "CreateWriteEvent",
        "ListWriteEvents",
        "ListActivity",
        "VerifyActivity",
        "ListActivityCheckpoints",
        "ListActivityProofs",
        "WatchEvents",
        "CreateWebhook",
        "ListWebhooks",
        "DeleteWebhook",
    ),
}
