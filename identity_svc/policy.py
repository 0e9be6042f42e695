"""Who may call which RPC of this package at all; use cases decides the rest.

One row for each RPC that is served, none by default: a new RPC without a row
cannot be called, and `tests/contract/test_served.py` says so.
"""

from __future__ import annotations

from services.rpc.policy import PUBLIC, USER, Policy, rows, service

__all__ = ["POLICY"]

_DECIDING = service("project_svc", "storage_svc", "sync_svc")
POLICY: Policy = {
    # The local secret stands for the bearer.
    **rows(
        "workspace.identity.v1.IdentityService",
        PUBLIC,
        "IssueLocalToken",
    ),
    **rows(
        "workspace.identity.v1.IdentityService",
        USER,
        "NormalizeIdentity",
        "GetSession",
        "GetUser",
        "UpdateUser",
        "ListUsers",
        "DisableUser",
        "EnableUser",
        "EraseUser",
        "ExportUserData",
        "RevokeSessions",
        "LinkIdentity",
        "UnlinkIdentity",
        "ListIdentityLinks",
        "CreateMachineToken",
        "ListMachineTokens",
        "RevokeMachineToken",
        "BootstrapPlatformAdmin",
    ),
    **rows(
        "workspace.identity.v1.IdentityService",
        _DECIDING,
        "ListMemberships",
        "BatchGetMemberships",
        "WatchMemberships",
    ),
    **rows(
        "workspace.identity.v1.IdentityService",
        service("project_svc"),
        "ResolveUser",
        "ListScopeMembers",
        "TryMembershipChange",
    ),
    **rows(
        "workspace.identity.v1.AccountService",
        USER,
        "CreateAccount",
        "GetAccount",
        "ListAccounts",
        "ListAllAccounts",
        "UpdateAccount",
        "GetUsage",
        "SetAccountStatus",
        "DeleteAccount",
        "ExportAccountData",
        "TransferAccountOwnership",
        "ClaimOrphanedProject",
        "GetNotificationRouting",
        "UpdateNotificationRouting",
        "AddAccountMember",
        "UpdateAccountMember",
        "RemoveAccountMember",
        "ListAccountMembers",
    ),
    **rows(
        "workspace.identity.v1.TeamService",
        USER,
        "CreateTeam",
        "ImportLegacyTeam",
        "GetTeam",
        "ListTeams",
        "UpdateTeam",
        "ArchiveTeam",
        "AddTeamMember",
        "UpdateTeamMember",
        "RemoveTeamMember",
        "ListTeamMembers",
        "TransferRootAdmin",
    ),
    **rows(
        "workspace.identity.v1.InvitationService",
        USER,
        "CreateInvitation",
        "ListInvitations",
        "GetInvitation",
        "AcceptInvitation",
        "DeclineInvitation",
        "RevokeInvitation",
        "ResendInvitation",
    ),
    **rows(
        "workspace.identity.v1.PreferenceService",
        USER,
        "GetNotificationPreferences",
        "UpdateNotificationPreferences",
    ),
}
