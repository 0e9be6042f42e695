"""What a machine token may do: the one rule, on projects, accounts and RPCs.

A token acts as its user, cut to its scope. The cut only takes away: whatever a
token may do, its user may do as well. Empty parts of a scope cut nothing; what
no row of `RPCS` names is refused.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import Enum
from types import MappingProxyType
from typing import Any, Final

from google.protobuf.message import Message

from services.model.permissions import ALL, OWNER, expand

__all__ = ["RPCS", "Needs", "TokenScope", "may_call"]

_NONE: Final = frozenset[int]()


@dataclass(frozen=True, slots=True)
class TokenScope:
    """The scope of a token. `permissions` as given, not expanded."""

    permissions: frozenset[int] = _NONE
    project_ids: frozenset[str] = frozenset()
    account_ids: frozenset[str] = frozenset()

    @classmethod
    def of(
        cls, permissions: Iterable[int], project_ids: Iterable[str], account_ids: Iterable[str]
    ) -> TokenScope:
        return cls(frozenset(map(int, permissions)), frozenset(project_ids), frozenset(account_ids))

    @property
    def is_whole(self) -> bool:
        """Nothing is cut."""
        return not (self.permissions or self.project_ids or self.account_ids)

    @property
    def cap(self) -> frozenset[int]:
        """The most on any project, expanded."""
        return expand(self.permissions) if self.permissions else ALL

    def reaches_account(self, account_id: str) -> bool:
        """An account or personal workspace; '' (standalone) only without a list."""
        return not self.account_ids or account_id in self.account_ids

    def on_project(self, project_id: str, home_id: str) -> frozenset[int]:
        """The most that is left on a project whose home is `home_id`."""
        if self.project_ids and project_id not in self.project_ids:
            return _NONE
        return self.cap if self.reaches_account(home_id) else _NONE


class Needs(Enum):
    """What a scope must be for an RPC to be called at all.

    NEVER: a person alone. WHOLE: a token without any scope. MANAGE: accounts
    and teams decide what people may do on projects, so neither permissions nor
    projects may be cut; which accounts is decided where the caller's place in
    them is read. HOME: as MANAGE when an account is named, else as DATA.
    CREATE: makes a project, whose owner the user becomes. DATA: what is asked
    for is cut where it is decided.
    """

    NEVER = "never"
    WHOLE = "whole"
    MANAGE = "manage"
    HOME = "home"
    CREATE = "create"
    DATA = "data"


def may_call(scope: TokenScope, method: str, request: Any) -> bool:
    """Whether a token of this scope may call `/package.Service/Method` so."""
    needs = RPCS.get(method, Needs.NEVER)
    if needs is Needs.NEVER:
        return False
    if needs is Needs.WHOLE or not isinstance(request, Message):
        return scope.is_whole  # a stream of requests names nothing yet
    named = _named_accounts(request)
    if not all(map(scope.reaches_account, named)):
        return False
    if needs is Needs.MANAGE or (needs is Needs.HOME and named):
        return not (scope.permissions or scope.project_ids)
    if needs is Needs.CREATE:
        # Without a name it is the personal workspace, which no list names so.
        told = bool(named) or not scope.account_ids
        return told and not scope.project_ids and OWNER in scope.cap
    return True


def _named_accounts(request: Any) -> list[str]:
    fields = request.DESCRIPTOR.fields_by_name
    named = [getattr(request, name) for name in ("account_id", "workspace_id") if name in fields]
    return [account for account in named if account]


def _rows(service: str, needs: Needs, methods: str) -> dict[str, Needs]:
    return {f"/workspace.{service}/{method}": needs for method in methods.split()}


_IDENTITY = "identity.v1.IdentityService"
_ACCOUNT = "identity.v1.AccountService"
_TEAM = "identity.v1.TeamService"
_INVITATION = "identity.v1.InvitationService"
_PREFERENCE = "identity.v1.PreferenceService"
_DOCUMENT = "project.v1.DocumentService"
_GRANT = "project.v1.GrantService"
_HISTORY = "project.v1.HistoryService"
_PERMISSION = "project.v1.PermissionService"
_PROJECT = "project.v1.ProjectService"
_STORAGE = "storage.v1.StorageService"

RPCS: Final[Mapping[str, Needs]] = MappingProxyType(
    _rows(
        _IDENTITY,
        Needs.NEVER,
        "NormalizeIdentity DisableUser EnableUser EraseUser LinkIdentity UnlinkIdentity "
        "IssueLocalToken BootstrapPlatformAdmin CreateMachineToken",
    )
    | _rows(
        _IDENTITY,
        Needs.WHOLE,
        "UpdateUser ExportUserData RevokeSessions ListIdentityLinks ListMachineTokens "
        "RevokeMachineToken",
    )
    | _rows(_IDENTITY, Needs.DATA, "GetSession GetUser ListUsers")
    | _rows(
        _ACCOUNT,
        Needs.NEVER,
        "ListAllAccounts DeleteAccount TransferAccountOwnership ClaimOrphanedProject",
    )
    | _rows(_ACCOUNT, Needs.WHOLE, "CreateAccount ExportAccountData")
    | _rows(
        _ACCOUNT,
        Needs.MANAGE,
        "UpdateAccount SetAccountStatus AddAccountMember UpdateAccountMember RemoveAccountMember "
        "GetNotificationRouting UpdateNotificationRouting GetUsage",
    )
    | _rows(_ACCOUNT, Needs.DATA, "GetAccount ListAccounts ListAccountMembers")
    | _rows(_TEAM, Needs.NEVER, "ImportLegacyTeam")
    | _rows(
        _TEAM,
        Needs.MANAGE,
        "CreateTeam UpdateTeam ArchiveTeam AddTeamMember UpdateTeamMember RemoveTeamMember "
        "TransferRootAdmin",
    )
    | _rows(_TEAM, Needs.DATA, "GetTeam ListTeams ListTeamMembers")
    | _rows(
        _INVITATION,
        Needs.WHOLE,
        "CreateInvitation ListInvitations GetInvitation AcceptInvitation DeclineInvitation "
        "RevokeInvitation ResendInvitation",
    )
    | _rows(_PREFERENCE, Needs.DATA, "GetNotificationPreferences")
    | _rows(_PREFERENCE, Needs.WHOLE, "UpdateNotificationPreferences")
    | _rows(
        _DOCUMENT,
        Needs.DATA,
        "CreateDocument GetDocument ListDocuments SearchDocuments UpdateDocument "
        "BatchUpdateDocuments CreateRevision ListRevisions MoveDocument CopyDocument "
        "ArchiveDocument DeleteDocument RestoreDocument PurgeDocument CreateDerivedArtifact "
        "ListDerivedArtifacts LinkObjects UnlinkObjects ListLinks GetDocumentAsOf",
    )
    | _rows(_GRANT, Needs.DATA, "CreateGrant UpdateGrant RevokeGrant ListGrants")
    # These reach further than one project, or last longer than the token.
    | _rows(
        _GRANT,
        Needs.WHOLE,
        "PreviewAccessChange PreviewMembershipChange RequestAccess ListAccessRequests "
        "DecideAccessRequest",
    )
    | _rows(
        _HISTORY,
        Needs.DATA,
        "ListMetadataRecords AppendMetadataRecord CreateWriteEvent ListWriteEvents",
    )
    | _rows(_HISTORY, Needs.HOME, "ListActivity")
    | _rows(
        _HISTORY,
        Needs.WHOLE,
        "VerifyActivity ListActivityCheckpoints ListActivityProofs WatchEvents CreateWebhook "
        "ListWebhooks DeleteWebhook",
    )
    | _rows(
        _PERMISSION,
        Needs.DATA,
        "CheckPermission BatchCheckPermissions GetEffectivePermissions ListAccessibleProjects",
    )
    | _rows(_PERMISSION, Needs.WHOLE, "ListProjectUsers ExplainPermission WatchPermissions")
    | _rows(_PROJECT, Needs.CREATE, "CreateProject")
    | _rows(
        _PROJECT,
        Needs.DATA,
        "GetProject ListProjects UpdateProject AssignProject SetProjectStatus DeleteProject "
        "ListTrash RestoreProject",
    )
    # An account administrator may, without a right on the project that could be cut.
    | _rows(_PROJECT, Needs.WHOLE, "PurgeProject SetLegalHold")
    | _rows("storage.v1.CatalogService", Needs.DATA, "GetBackendCatalog GetBackendSelection")
    | _rows("storage.v1.CatalogService", Needs.DATA, "GetParity")
    | _rows(
        _STORAGE,
        Needs.DATA,
        "CreateUpload CreateMultipartUpload SignUploadParts ListUploadParts CompleteUpload "
        "AbortUpload ListUploads CreateDownload BatchCreateDownloads GetObjectInfo",
    )
    | _rows(_STORAGE, Needs.WHOLE, "RelocateProject RevokeTransfers")
    | _rows(
        "sync.v1.ConnectionService",
        Needs.WHOLE,
        "CreateConnection GetConnection ListConnections UpdateConnection DeleteConnection "
        "TestConnection",
    )
    | _rows(
        "sync.v1.SyncService",
        Needs.WHOLE,
        "Push Pull StartSync GetRun ListRuns CancelRun WatchRun PlanSync CompareSurfaces "
        "GetSyncStatus ListConflicts GetConflict ResolveConflict ResolveProjectConflicts "
        "ListQuarantine RetryQuarantined ListNodes EvictNode",
    )
)
"""Every RPC that a person may call; a test holds it against the contract."""
