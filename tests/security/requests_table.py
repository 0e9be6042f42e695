"""One row per served RPC: how to ask, and who gets what answer.

The row says who may; everybody else gets what `Row.expected` derives. Requests
name things by their ids alone, so that the same builder asks for own, foreign
and missing things.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from google.protobuf.field_mask_pb2 import FieldMask
from google.protobuf.message import Message
from google.protobuf.struct_pb2 import Struct
from google.protobuf.timestamp_pb2 import Timestamp
from grpc import StatusCode as Code
from workspace.common.v1.permission_pb2 import Permission
from workspace.identity.v1 import account_pb2 as ac
from workspace.identity.v1 import account_service_pb2 as acs
from workspace.identity.v1 import identity_service_pb2 as ids
from workspace.identity.v1 import invitation_pb2 as iv
from workspace.identity.v1 import invitation_service_pb2 as ivs
from workspace.identity.v1 import preference_pb2 as pr
from workspace.identity.v1 import preference_service_pb2 as prs
from workspace.identity.v1 import team_pb2 as tm
from workspace.identity.v1 import team_service_pb2 as tms
from workspace.identity.v1.membership_change_pb2 import ProposedMembershipChange
from workspace.identity.v1.membership_pb2 import ScopeRef
from workspace.identity.v1.user_pb2 import User
from workspace.project.v1 import document_pb2 as doc
from workspace.project.v1 import document_service_pb2 as ds
from workspace.project.v1 import grant_pb2 as gr
from workspace.project.v1 import grant_service_pb2 as gs
from workspace.project.v1 import history_service_pb2 as hs
from workspace.project.v1 import permission_service_pb2 as pms
from workspace.project.v1 import project_pb2 as pj
from workspace.project.v1 import project_service_pb2 as ps
from workspace.project.v1.history_pb2 import MetadataRecordType, WriteEventKind
from workspace.project.v1.link_pb2 import ObjectLink
from workspace.storage.v1 import catalog_service_pb2 as cs
from workspace.storage.v1 import storage_service_pb2 as ss
from workspace.sync.v1 import connection_pb2 as co
from workspace.sync.v1 import connection_service_pb2 as css
from workspace.sync.v1 import sync_service_pb2 as sysv
from workspace.sync.v1.conflict_pb2 import ProjectResolution, Resolution
from workspace.sync.v1.run_pb2 import SyncDirection

from services.rpc.policy import Kind, Rule
from tests.security.cast import BYTES, NOWHERE, ROLES, SHA256, SIGNED_IN, Things

DENIED = Code.PERMISSION_DENIED
_LATER = Timestamp(seconds=4_000_000_000)
NOBODY = frozenset[str]()
EVERYBODY = frozenset(SIGNED_IN)
OWNER = frozenset({"owner"})
EDITORS = OWNER | {"editor"}
MEMBERS = EDITORS | {"viewer"}
PLATFORM = frozenset({"platform"})
Build = Callable[[Things], Message]


@dataclass(frozen=True)
class Row:
    """How to call one RPC and what to expect.

    `may`: roles whose call about their own things goes through, ending in
    `answer`. `elsewhere`: code for foreign and for missing things alike (None:
    the request names nothing). `knowing`: codes about foreign and about missing
    things for those who may know what exists: platform administrators, or
    services. `about_self`: the same call about the caller goes through for all.
    `codes`, `other_codes`: exceptions by role, about own things and about others.
    """

    ask: Build
    may: frozenset[str] = NOBODY
    answer: Code = Code.OK
    elsewhere: Code | None = DENIED
    knowing: tuple[Code, Code] | None = None
    about_self: Build | None = None
    codes: Mapping[str, Code] = field(default_factory=dict)
    other_codes: Mapping[str, Code] = field(default_factory=dict)

    def own(self, role: str, rule: Rule) -> Code:
        """Expected code about the cast's own things."""
        if role in self.codes:
            return self.codes[role]
        early = _before_the_use_case(role, rule)
        if early is not None:
            return early
        return self.answer if role in self.may or role == "service" else DENIED

    def other(self, role: str, rule: Rule, *, missing: bool) -> Code:
        """Expected code about things of strangers, or that do not exist."""
        assert self.elsewhere is not None
        if role in self.other_codes:
            return self.other_codes[role]
        early = _before_the_use_case(role, rule)
        if early is not None:
            return early
        if self.knowing is not None and may_know(role, rule):
            return self.knowing[missing]
        return self.elsewhere


def may_know(role: str, rule: Rule) -> bool:
    """Platform administrators see metadata; services see what they ask about."""
    asking = rule.kind in (Kind.SERVICE, Kind.USER_OR_SERVICE)
    return role == "platform" or (role == "service" and asking)


def _before_the_use_case(role: str, rule: Rule) -> Code | None:
    """What the policy row alone decides."""
    assert role in ROLES
    if rule.kind is Kind.PUBLIC:
        return Code.OK
    if role == "disabled":
        return DENIED
    if rule.kind is Kind.SERVICE:
        return None if role == "service" else DENIED
    if role == "anonymous":
        return Code.UNAUTHENTICATED
    if role == "service" and rule.kind is Kind.USER:
        return Code.UNAUTHENTICATED
    return None


def mask(*paths: str) -> FieldMask:
    return FieldMask(paths=paths)


def _snapshot() -> Struct:
    snapshot = Struct()
    snapshot.update({"pages": 3})
    return snapshot


_IDENTITY: dict[str, Row] = {
    "NormalizeIdentity": Row(
        lambda t: ids.NormalizeIdentityRequest(), EVERYBODY, elsewhere=None
    ),
    "GetSession": Row(lambda t: ids.GetSessionRequest(), EVERYBODY, elsewhere=None),
    "GetUser": Row(
        lambda t: ids.GetUserRequest(user_id=t.member_id),
        MEMBERS | PLATFORM,
        knowing=(Code.OK, DENIED),
        about_self=lambda t: ids.GetUserRequest(user_id=t.caller_id),
    ),
    "UpdateUser": Row(
        lambda t: ids.UpdateUserRequest(
            user=User(user_id=t.member_id, name="Taken"), update_mask=mask("name")
        ),
        about_self=lambda t: ids.UpdateUserRequest(
            user=User(user_id=t.caller_id, name="Mine"), update_mask=mask("name")
        ),
    ),
    "ListUsers": Row(lambda t: ids.ListUsersRequest(account_id=t.account_id), MEMBERS),
    "DisableUser": Row(
        lambda t: ids.DisableUserRequest(user_id=t.member_id),
        PLATFORM,
        knowing=(Code.OK, Code.NOT_FOUND),
    ),
    "EnableUser": Row(
        lambda t: ids.EnableUserRequest(user_id=t.member_id),
        PLATFORM,
        knowing=(Code.OK, Code.NOT_FOUND),
    ),
    "EraseUser": Row(
        lambda t: ids.EraseUserRequest(
            user_id=t.newcomer_id, confirm_user_id="u_other"
        ),
        answer=Code.INVALID_ARGUMENT,
        codes=dict.fromkeys(SIGNED_IN, Code.INVALID_ARGUMENT),
        other_codes=dict.fromkeys(SIGNED_IN, Code.INVALID_ARGUMENT),
    ),
    "ExportUserData": Row(
        lambda t: ids.ExportUserDataRequest(user_id=t.member_id),
        PLATFORM,
        about_self=lambda t: ids.ExportUserDataRequest(user_id=t.caller_id),
        knowing=(Code.OK, Code.OK),
    ),
    "RevokeSessions": Row(
        lambda t: ids.RevokeSessionsRequest(user_id=t.member_id),
        PLATFORM,
        knowing=(Code.OK, Code.NOT_FOUND),
    ),
    "IssueLocalToken": Row(
        lambda t: ids.IssueLocalTokenRequest(
            email="new@example.com", name="New", local_secret=t.secret
        ),
        frozenset(ROLES),
        elsewhere=None,
    ),
    # A token that does not verify: what a good one earns is in test_links.py.
    "LinkIdentity": Row(
        lambda t: ids.LinkIdentityRequest(other_token="x.y.z"),
        EVERYBODY,
        answer=Code.UNAUTHENTICATED,
        elsewhere=None,
    ),
    "UnlinkIdentity": Row(
        lambda t: ids.UnlinkIdentityRequest(link_id="q" * 52, other_token="x.y.z"),
        EVERYBODY,
        answer=Code.UNAUTHENTICATED,
        elsewhere=None,
    ),
    "ListIdentityLinks": Row(
        lambda t: ids.ListIdentityLinksRequest(user_id=t.member_id),
        PLATFORM,
        knowing=(Code.OK, Code.OK),
        about_self=lambda t: ids.ListIdentityLinksRequest(user_id=t.caller_id),
    ),
    "CreateMachineToken": Row(
        lambda t: ids.CreateMachineTokenRequest(name="nightly", project_ids=[t.project_id]),
        MEMBERS,
    ),
    "ListMachineTokens": Row(
        lambda t: ids.ListMachineTokensRequest(user_id=t.member_id),
        PLATFORM,
        knowing=(Code.OK, Code.OK),
        about_self=lambda t: ids.ListMachineTokensRequest(user_id=t.caller_id),
    ),
    "RevokeMachineToken": Row(
        lambda t: ids.RevokeMachineTokenRequest(token_id=f"k_{'q' * 26}_{'q' * 26}"),
        PLATFORM,
        answer=Code.NOT_FOUND,
        elsewhere=None,
    ),
    "BootstrapPlatformAdmin": Row(
        lambda t: ids.BootstrapPlatformAdminRequest(bootstrap_secret=t.secret),
        EVERYBODY,
        answer=Code.ALREADY_EXISTS,
        elsewhere=None,
    ),
    "ListMemberships": Row(
        lambda t: ids.ListMembershipsRequest(user_id=t.member_id), elsewhere=Code.OK
    ),
    "BatchGetMemberships": Row(
        lambda t: ids.BatchGetMembershipsRequest(
            user_id=t.member_id, scopes=[ScopeRef(account_id=t.account_id)]
        ),
        elsewhere=Code.OK,
    ),
    "WatchMemberships": Row(lambda t: ids.WatchMembershipsRequest(), elsewhere=None),
    "ResolveUser": Row(
        lambda t: ids.ResolveUserRequest(email="owner@example.com"), elsewhere=None
    ),
    "TryMembershipChange": Row(
        lambda t: ids.TryMembershipChangeRequest(
            change=ProposedMembershipChange(
                archive_team=tms.ArchiveTeamRequest(team_id=t.team_id)
            )
        ),
        # It decides about the person whose token is forwarded; here is none.
        codes={"service": DENIED},
    ),
    "ListScopeMembers": Row(
        lambda t: ids.ListScopeMembersRequest(scopes=[ScopeRef(account_id=t.account_id)]),
        elsewhere=Code.OK,
    ),
}

_ACCOUNT: dict[str, Row] = {
    "CreateAccount": Row(
        lambda t: acs.CreateAccountRequest(name="New", type="client_org"),
        EVERYBODY,
        elsewhere=None,
    ),
    "GetAccount": Row(
        lambda t: acs.GetAccountRequest(account_id=t.account_id),
        MEMBERS | PLATFORM,
        knowing=(Code.OK, DENIED),
    ),
    "ListAccounts": Row(lambda t: acs.ListAccountsRequest(), EVERYBODY, elsewhere=None),
    "ListAllAccounts": Row(lambda t: acs.ListAllAccountsRequest(), PLATFORM, elsewhere=None),
    "GetUsage": Row(
        lambda t: acs.GetUsageRequest(account_id=t.account_id),
        OWNER | PLATFORM,
        knowing=(Code.OK, DENIED),
    ),
    "UpdateAccount": Row(
        lambda t: acs.UpdateAccountRequest(
            account=ac.Account(account_id=t.account_id, description="Changed"),
            update_mask=mask("description"),
        ),
        OWNER,
    ),
    "SetAccountStatus": Row(
        lambda t: acs.SetAccountStatusRequest(
            account_id=t.account_id, status=ac.ACCOUNT_STATUS_ARCHIVED, reason="done"
        ),
        OWNER | PLATFORM,
        knowing=(Code.OK, Code.NOT_FOUND),
    ),
    "TransferAccountOwnership": Row(
        lambda t: acs.TransferAccountOwnershipRequest(
            account_id=t.account_id, new_owner_user_id=t.member_id,
            former_owner_role=ac.ACCOUNT_ROLE_EDITOR,
        ),
        OWNER,
    ),
    "DeleteAccount": Row(
        lambda t: acs.DeleteAccountRequest(account_id=t.account_id), OWNER,
        answer=Code.FAILED_PRECONDITION,
    ),
    "ExportAccountData": Row(
        lambda t: acs.ExportAccountDataRequest(account_id=t.account_id), OWNER
    ),
    "ClaimOrphanedProject": Row(
        lambda t: acs.ClaimOrphanedProjectRequest(
            account_id=t.account_id, project_id=t.project_id, reason="test"
        ),
        OWNER,
        answer=Code.FAILED_PRECONDITION,
    ),
    "GetNotificationRouting": Row(
        lambda t: acs.GetNotificationRoutingRequest(account_id=t.account_id), OWNER
    ),
    "UpdateNotificationRouting": Row(
        lambda t: acs.UpdateNotificationRoutingRequest(
            notification_routing=ac.NotificationRouting(
                account_id=t.account_id, topic="account.members", disabled=True
            ),
            update_mask=mask("disabled"),
        ),
        OWNER,
    ),
    "AddAccountMember": Row(
        lambda t: acs.AddAccountMemberRequest(
            account_id=t.account_id, user_id=t.newcomer_id, role=ac.ACCOUNT_ROLE_VIEWER
        ),
        OWNER,
    ),
    "UpdateAccountMember": Row(
        lambda t: acs.UpdateAccountMemberRequest(
            member=ac.AccountMember(
                account_id=t.account_id, user_id=t.member_id, role=ac.ACCOUNT_ROLE_EDITOR
            ),
            update_mask=mask("role"),
        ),
        OWNER,
    ),
    "RemoveAccountMember": Row(
        lambda t: acs.RemoveAccountMemberRequest(account_id=t.account_id, user_id=t.member_id),
        OWNER,
    ),
    "ListAccountMembers": Row(
        lambda t: acs.ListAccountMembersRequest(account_id=t.account_id), MEMBERS
    ),
}

_TEAM: dict[str, Row] = {
    "CreateTeam": Row(
        lambda t: tms.CreateTeamRequest(account_id=t.account_id, name="More"), OWNER
    ),
    "ImportLegacyTeam": Row(
        lambda t: tms.ImportLegacyTeamRequest(
            legacy_id=f"of {t.team_id}", name="Old crew", root_admin_user_id=t.member_id
        ),
        PLATFORM,
        knowing=(Code.OK, Code.NOT_FOUND),
    ),
    "GetTeam": Row(lambda t: tms.GetTeamRequest(team_id=t.team_id), MEMBERS),
    "ListTeams": Row(
        lambda t: tms.ListTeamsRequest(account_id=t.account_id), EVERYBODY, elsewhere=Code.OK
    ),
    "UpdateTeam": Row(
        lambda t: tms.UpdateTeamRequest(
            team=tm.Team(team_id=t.team_id, description="Changed"),
            update_mask=mask("description"),
        ),
        OWNER,
    ),
    "ArchiveTeam": Row(lambda t: tms.ArchiveTeamRequest(team_id=t.team_id), OWNER),
    "AddTeamMember": Row(
        lambda t: tms.AddTeamMemberRequest(
            team_id=t.team_id, user_id=t.joiner_id, role=tm.TEAM_ROLE_MEMBER
        ),
        OWNER,
    ),
    "UpdateTeamMember": Row(
        lambda t: tms.UpdateTeamMemberRequest(
            member=tm.TeamMember(
                team_id=t.team_id, user_id=t.member_id, role=tm.TEAM_ROLE_VIEWER
            ),
            update_mask=mask("role"),
        ),
        OWNER,
    ),
    "RemoveTeamMember": Row(
        lambda t: tms.RemoveTeamMemberRequest(team_id=t.team_id, user_id=t.member_id), OWNER
    ),
    "ListTeamMembers": Row(lambda t: tms.ListTeamMembersRequest(team_id=t.team_id), MEMBERS),
    "TransferRootAdmin": Row(
        lambda t: tms.TransferRootAdminRequest(
            team_id=t.team_id, new_root_admin_user_id=t.member_id
        ),
        OWNER,
    ),
}

_INVITATION: dict[str, Row] = {
    "CreateInvitation": Row(
        lambda t: ivs.CreateInvitationRequest(
            account_id=t.account_id, email="another@example.com",
            terms=iv.InvitationTerms(account_role=ac.ACCOUNT_ROLE_VIEWER),
        ),
        OWNER,
    ),
    "ListInvitations": Row(lambda t: ivs.ListInvitationsRequest(account_id=t.account_id), OWNER),
    "GetInvitation": Row(
        lambda t: ivs.GetInvitationRequest(invitation_id=t.invitation_id), OWNER
    ),
    # One answer for whatever is not for the caller.
    "AcceptInvitation": Row(
        lambda t: ivs.AcceptInvitationRequest(invitation_id=t.invitation_id),
        EVERYBODY,
        answer=Code.FAILED_PRECONDITION,
        elsewhere=Code.FAILED_PRECONDITION,
    ),
    "DeclineInvitation": Row(
        lambda t: ivs.DeclineInvitationRequest(invitation_id=t.invitation_id),
        EVERYBODY,
        answer=Code.FAILED_PRECONDITION,
        elsewhere=Code.FAILED_PRECONDITION,
    ),
    "RevokeInvitation": Row(
        lambda t: ivs.RevokeInvitationRequest(invitation_id=t.invitation_id), OWNER
    ),
    "ResendInvitation": Row(
        lambda t: ivs.ResendInvitationRequest(invitation_id=t.invitation_id), OWNER
    ),
}

_PREFERENCE: dict[str, Row] = {
    "GetNotificationPreferences": Row(
        lambda t: prs.GetNotificationPreferencesRequest(user_id=t.member_id),
        about_self=lambda t: prs.GetNotificationPreferencesRequest(user_id=t.caller_id),
    ),
    "UpdateNotificationPreferences": Row(
        lambda t: _preferences(t.member_id), about_self=lambda t: _preferences(t.caller_id)
    ),
}


def _preferences(user_id: str) -> Message:
    entry = pr.NotificationPreference(
        topic="project.shared", delivery=pr.NotificationDelivery.NOTIFICATION_DELIVERY_NONE
    )
    return prs.UpdateNotificationPreferencesRequest(
        user_id=user_id, preferences=[entry], update_mask=mask("delivery")
    )


_PROJECT: dict[str, Row] = {
    "CreateProject": Row(
        lambda t: ps.CreateProjectRequest(name="New", account_id=t.account_id), EDITORS
    ),
    "GetProject": Row(lambda t: ps.GetProjectRequest(project_id=t.project_id), MEMBERS),
    "ListProjects": Row(
        lambda t: ps.ListProjectsRequest(account_id=t.account_id), EVERYBODY, elsewhere=Code.OK
    ),
    "UpdateProject": Row(
        lambda t: ps.UpdateProjectRequest(
            project=pj.Project(project_id=t.project_id, description="Changed"),
            update_mask=mask("description"),
        ),
        EDITORS,
    ),
    "AssignProject": Row(
        lambda t: ps.AssignProjectRequest(project_id=t.project_id, team_id=t.team_id), OWNER
    ),
    "SetProjectStatus": Row(
        lambda t: ps.SetProjectStatusRequest(
            project_id=t.project_id, status=pj.PROJECT_STATUS_ARCHIVED
        ),
        OWNER,
    ),
    "DeleteProject": Row(lambda t: ps.DeleteProjectRequest(project_id=t.project_id), OWNER),
    "ListTrash": Row(
        lambda t: ps.ListTrashRequest(account_id=t.account_id), EVERYBODY, elsewhere=Code.OK
    ),
    "RestoreProject": Row(
        lambda t: ps.RestoreProjectRequest(project_id=t.trashed_project_id), OWNER
    ),
    "PurgeProject": Row(
        lambda t: ps.PurgeProjectRequest(project_id=t.trashed_project_id),
        OWNER,
        answer=Code.FAILED_PRECONDITION,  # kept until `purge_after`
    ),
    "BatchGetBillingScopes": Row(
        lambda t: ps.BatchGetBillingScopesRequest(project_ids=[t.project_id]), elsewhere=Code.OK
    ),
    "SetLegalHold": Row(
        lambda t: ps.SetLegalHoldRequest(
            project_id=t.project_id, legal_hold=True, reason="court"
        ),
        OWNER,
    ),
}

_GRANT: dict[str, Row] = {
    "CreateGrant": Row(
        lambda t: gs.CreateGrantRequest(
            project_id=t.project_id, target_type=gr.GRANT_TARGET_TYPE_USER,
            target_id=t.joiner_id, permissions=[Permission.PERMISSION_COMMENT],
        ),
        OWNER,
    ),
    "UpdateGrant": Row(
        lambda t: gs.UpdateGrantRequest(
            grant=gr.Grant(project_id=t.project_id, grant_id=t.grant_id, note="Changed"),
            update_mask=mask("note"),
        ),
        OWNER,
    ),
    "RevokeGrant": Row(
        lambda t: gs.RevokeGrantRequest(project_id=t.project_id, grant_id=t.grant_id), OWNER
    ),
    # Before the rows that take grants of the foreign project away.
    "CreateInvitedGrant": Row(
        lambda t: gs.CreateInvitedGrantRequest(
            project_id=t.project_id, invitation_id=t.invitation_id, inviter_user_id=t.user_id,
            target_type=gr.GRANT_TARGET_TYPE_USER, target_id=t.newcomer_id,
            permissions=[Permission.PERMISSION_VIEW], validate_only=True,
        ),
        knowing=(Code.ALREADY_EXISTS, DENIED),  # the foreign newcomer has a grant there
    ),
    "RevokeMemberGrants": Row(
        lambda t: gs.RevokeMemberGrantsRequest(
            account_id=t.account_id, user_id=t.member_id, reason="test"
        ),
        elsewhere=Code.OK,
    ),
    "ClaimProject": Row(
        lambda t: gs.ClaimProjectRequest(
            account_id=t.account_id, project_id=t.project_id, owner_user_id=t.member_id,
            reason="test",
        ),
        answer=Code.FAILED_PRECONDITION,
        knowing=(Code.FAILED_PRECONDITION, DENIED),
    ),
    "FindOrphanedProjects": Row(
        lambda t: gs.FindOrphanedProjectsRequest(user_id=t.member_id), elsewhere=Code.OK
    ),
    "SurveyAccountProjects": Row(
        lambda t: gs.SurveyAccountProjectsRequest(account_id=t.account_id), elsewhere=Code.OK
    ),
    "ListGrants": Row(lambda t: gs.ListGrantsRequest(project_id=t.project_id), OWNER),
    # That foreign and missing projects answer alike: tests/integration/identity.
    "RequestAccess": Row(
        lambda t: gs.RequestAccessRequest(
            project_id=t.project_id, permissions=[Permission.PERMISSION_VIEW]
        ),
        EVERYBODY,
        elsewhere=None,
    ),
    "ListAccessRequests": Row(
        lambda t: gs.ListAccessRequestsRequest(project_id=t.project_id), OWNER
    ),
    "DecideAccessRequest": Row(
        lambda t: gs.DecideAccessRequestRequest(
            project_id=t.project_id, access_request_id="q_" + "q" * 26
        ),
        OWNER,
        answer=Code.NOT_FOUND,
    ),
    "PreviewAccessChange": Row(
        lambda t: gs.PreviewAccessChangeRequest(project_id=t.project_id, restricted=True), OWNER
    ),
    "PreviewMembershipChange": Row(
        lambda t: gs.PreviewMembershipChangeRequest(
            change=ProposedMembershipChange(
                remove_account_member=acs.RemoveAccountMemberRequest(
                    account_id=t.account_id, user_id=t.member_id
                )
            )
        ),
        OWNER,
    ),
}


def _about(t: Things) -> dict[str, Any]:
    """A service alone asks about somebody; a person about himself."""
    return {} if t.caller_id else {"user_id": t.member_id}


_PERMISSION: dict[str, Row] = {
    "CheckPermission": Row(
        lambda t: pms.CheckPermissionRequest(
            project_id=t.project_id, permission=Permission.PERMISSION_VIEW, **_about(t)
        ),
        EVERYBODY,
        elsewhere=Code.OK,
    ),
    "BatchCheckPermissions": Row(
        lambda t: pms.BatchCheckPermissionsRequest(
            items=[
                pms.CheckItem(
                    project_id=t.project_id, permission=Permission.PERMISSION_VIEW, **_about(t)
                )
            ]
        ),
        EVERYBODY,
        elsewhere=Code.OK,
    ),
    "GetEffectivePermissions": Row(
        lambda t: pms.GetEffectivePermissionsRequest(project_id=t.project_id, **_about(t)),
        EVERYBODY,
        elsewhere=Code.OK,
    ),
    "ListAccessibleProjects": Row(
        lambda t: pms.ListAccessibleProjectsRequest(**_about(t)), EVERYBODY, elsewhere=None
    ),
    "WatchPermissions": Row(
        lambda t: pms.WatchPermissionsRequest(project_ids=[t.project_id]),
        MEMBERS,
        codes={"service": Code.OK},
        other_codes={"service": Code.OK},
    ),
    "ListProjectUsers": Row(
        lambda t: pms.ListProjectUsersRequest(project_id=t.project_id),
        OWNER,
        codes={"service": Code.OK},
        other_codes={"service": Code.OK},
    ),
    "ExplainPermission": Row(
        lambda t: pms.ExplainPermissionRequest(
            project_id=t.project_id, permission=Permission.PERMISSION_WRITE, **_about(t)
        ),
        MEMBERS,
        codes={"service": Code.OK},
        other_codes={"service": Code.OK},
    ),
}

_DOCUMENT: dict[str, Row] = {
    "CreateDocument": Row(
        lambda t: ds.CreateDocumentRequest(
            project_id=t.project_id, name="new.txt", document_type="report"
        ),
        EDITORS,
    ),
    "GetDocument": Row(lambda t: ds.GetDocumentRequest(document_id=t.document_id), MEMBERS),
    "ListDocuments": Row(
        lambda t: ds.ListDocumentsRequest(account_id=t.account_id), EVERYBODY, elsewhere=Code.OK
    ),
    "UpdateDocument": Row(
        lambda t: ds.UpdateDocumentRequest(
            document=doc.Document(document_id=t.document_id, title="Changed"),
            update_mask=mask("title"),
        ),
        EDITORS,
    ),
    "CreateRevision": Row(
        lambda t: ds.CreateRevisionRequest(document_id=t.document_id, note="second"), EDITORS
    ),
    "ListRevisions": Row(
        lambda t: ds.ListRevisionsRequest(document_id=t.document_id), MEMBERS
    ),
    "MoveDocument": Row(
        lambda t: ds.MoveDocumentRequest(document_id=t.document_id, name="moved.txt"), EDITORS
    ),
    "ArchiveDocument": Row(
        lambda t: ds.ArchiveDocumentRequest(document_id=t.document_id), EDITORS
    ),
    "DeleteDocument": Row(lambda t: ds.DeleteDocumentRequest(document_id=t.document_id), OWNER),
    "RestoreDocument": Row(
        lambda t: ds.RestoreDocumentRequest(document_id=t.trashed_document_id), OWNER
    ),
    "BatchUpdateDocuments": Row(
        lambda t: ds.BatchUpdateDocumentsRequest(
            requests=[
                ds.UpdateDocumentRequest(
                    document=doc.Document(document_id=t.document_id, title="Changed")
                )
            ]
        ),
        EVERYBODY,  # every item has its own answer
        elsewhere=Code.OK,
    ),
    "CopyDocument": Row(
        lambda t: ds.CopyDocumentRequest(document_id=t.document_id, name="copy.txt"), EDITORS
    ),
    "SearchDocuments": Row(
        lambda t: ds.SearchDocumentsRequest(query="plan", account_id=t.account_id),
        EVERYBODY,
        elsewhere=Code.OK,
    ),
    "PurgeDocument": Row(
        lambda t: ds.PurgeDocumentRequest(document_id=t.trashed_document_id),
        OWNER,
        answer=Code.FAILED_PRECONDITION,  # kept until `purge_after`
    ),
    "GetDocumentAsOf": Row(
        lambda t: ds.GetDocumentAsOfRequest(document_id=t.document_id, time=_LATER), MEMBERS
    ),
    "CreateDerivedArtifact": Row(
        lambda t: ds.CreateDerivedArtifactRequest(
            document_id=t.document_id, kind="chunks", name="chunks.json"
        ),
        EDITORS,
    ),
    "ListDerivedArtifacts": Row(
        lambda t: ds.ListDerivedArtifactsRequest(document_id=t.document_id), MEMBERS
    ),
    "LinkObjects": Row(
        lambda t: ds.LinkObjectsRequest(document_id=t.document_id, links=[_LINK]), EDITORS
    ),
    "UnlinkObjects": Row(
        lambda t: ds.UnlinkObjectsRequest(document_id=t.document_id, links=[_LINK]), EDITORS
    ),
    "ListLinks": Row(
        lambda t: ds.ListLinksRequest(kind="document", id=t.document_id),
        EVERYBODY,
        elsewhere=Code.OK,
    ),
    "AuthorizeFile": Row(
        lambda t: ds.AuthorizeFileRequest(
            document_id=t.document_id, purpose=ds.FilePurpose.FILE_PURPOSE_DOWNLOAD
        ),
        # The service decides nothing itself: the user behind the call does.
        codes={"service": DENIED},
    ),
    "BatchAuthorizeFiles": Row(
        # Every document has an outcome of its own; the call itself succeeds.
        lambda t: ds.BatchAuthorizeFilesRequest(document_ids=[t.document_id]),
        elsewhere=Code.OK,
    ),
    "ListProjectFiles": Row(
        lambda t: ds.ListProjectFilesRequest(project_id=t.project_id),
        knowing=(Code.OK, Code.NOT_FOUND),
    ),
    "MoveFileKey": Row(
        lambda t: ds.MoveFileKeyRequest(
            document_id=t.document_id,
            storage_key=f"accounts/a/projects/{t.project_id}/documents/{t.document_id}/raw/a.txt",
            new_storage_key=f"accounts/b/projects/{t.project_id}/documents/{t.document_id}/raw/a.txt",
            sha256=SHA256,
        ),
        answer=Code.NOT_FOUND,
        knowing=(Code.NOT_FOUND, Code.NOT_FOUND),
    ),
    "CopyDocumentVersion": Row(
        lambda t: ds.CopyDocumentVersionRequest(
            document_id=t.document_id,
            version=doc.Document(
                document_id=t.document_id, project_id=t.project_id, name="a.txt"
            ),
            name="kept.txt",
        ),
        answer=DENIED,
    ),
    "AttachFile": Row(
        lambda t: ds.AttachFileRequest(
            document_id=t.empty_document_id, upload_id=t.upload_id,
            file=doc.FileInfo(
                filename="a.txt", size_bytes=len(BYTES), sha256=SHA256,
                content_type="text/plain", storage_key=t.announced_key, upload_id=t.upload_id,
            ),
            disposition=ds.FileDisposition.FILE_DISPOSITION_AVAILABLE,
        ),
        elsewhere=Code.NOT_FOUND, knowing=(Code.OK, Code.NOT_FOUND),
    ),
}
_LINK = ObjectLink(kind="requirement", id="REQ-1", relation="satisfies")

_HISTORY: dict[str, Row] = {
    "ListMetadataRecords": Row(
        lambda t: hs.ListMetadataRecordsRequest(document_id=t.document_id), MEMBERS
    ),
    "AppendMetadataRecord": Row(
        lambda t: hs.AppendMetadataRecordRequest(
            document_id=t.document_id, snapshot=_snapshot(),
            record_type=MetadataRecordType.METADATA_RECORD_TYPE_CURATED,
        ),
        EDITORS,
    ),
    "CreateWriteEvent": Row(
        lambda t: hs.CreateWriteEventRequest(
            document_id=t.document_id, kind=WriteEventKind.WRITE_EVENT_KIND_NOTE, text="Seen"
        ),
        EDITORS,
    ),
    "ListWriteEvents": Row(
        lambda t: hs.ListWriteEventsRequest(document_id=t.document_id), MEMBERS
    ),
    "ListActivity": Row(lambda t: hs.ListActivityRequest(project_id=t.project_id), MEMBERS),
    "VerifyActivity": Row(lambda t: hs.VerifyActivityRequest(project_id=t.project_id), OWNER),
    "ListActivityCheckpoints": Row(
        lambda t: hs.ListActivityCheckpointsRequest(project_id=t.project_id), OWNER
    ),
    "ListActivityProofs": Row(
        lambda t: hs.ListActivityProofsRequest(project_id=t.project_id), OWNER
    ),
    "WatchEvents": Row(lambda t: hs.WatchEventsRequest(project_ids=[t.project_id]), MEMBERS),
    "CreateWebhook": Row(
        lambda t: hs.CreateWebhookRequest(
            project_id=t.project_id, url=NOWHERE, event_types=["nothing.happened"]
        ),
        OWNER,
    ),
    "ListWebhooks": Row(lambda t: hs.ListWebhooksRequest(account_id=t.account_id), OWNER),
    "DeleteWebhook": Row(lambda t: hs.DeleteWebhookRequest(webhook_id=t.webhook_id), OWNER),
}

_STORAGE: dict[str, Row] = {
    "CreateUpload": Row(
        lambda t: ss.CreateUploadRequest(
            document_id=t.empty_document_id, filename="b.txt", content_type="text/plain",
            size_bytes=len(BYTES), sha256=SHA256,
        ),
        EDITORS,
    ),
    "CreateMultipartUpload": Row(
        lambda t: ss.CreateMultipartUploadRequest(
            document_id=t.empty_document_id, filename="b.txt", content_type="text/plain",
            size_bytes=len(BYTES), sha256=SHA256,
        ),
        EDITORS,
    ),
    "SignUploadParts": Row(
        lambda t: ss.SignUploadPartsRequest(upload_id=t.upload_id, part_numbers=[1]),
        OWNER,  # who announced it
        answer=Code.FAILED_PRECONDITION,  # it has no parts
    ),
    "ListUploadParts": Row(
        lambda t: ss.ListUploadPartsRequest(upload_id=t.upload_id), EDITORS
    ),
    "CompleteUpload": Row(
        lambda t: ss.CompleteUploadRequest(upload_id=t.upload_id),
        OWNER,  # who announced it
        answer=Code.FAILED_PRECONDITION,  # nothing was sent
    ),
    "AbortUpload": Row(lambda t: ss.AbortUploadRequest(upload_id=t.upload_id), EDITORS),
    "ListUploads": Row(lambda t: ss.ListUploadsRequest(project_id=t.project_id), EDITORS),
    "CreateDownload": Row(
        lambda t: ss.CreateDownloadRequest(document_id=t.document_id), MEMBERS
    ),
    "BatchCreateDownloads": Row(
        lambda t: ss.BatchCreateDownloadsRequest(document_ids=[t.document_id]),
        EVERYBODY,  # each item has its own code
        elsewhere=Code.OK,
    ),
    "GetObjectInfo": Row(
        lambda t: ss.GetObjectInfoRequest(document_id=t.document_id), MEMBERS
    ),
    "RelocateProject": Row(
        lambda t: ss.RelocateProjectRequest(project_id=t.project_id, dry_run=True), OWNER
    ),
    "RevokeTransfers": Row(
        lambda t: ss.RevokeTransfersRequest(project_id=t.project_id), OWNER
    ),
    "MarkAvailable": Row(
        lambda t: ss.MarkAvailableRequest(
            upload_id=t.upload_id, verdict=ss.ReadyVerdict.READY_VERDICT_CLEAN
        ),
        answer=Code.FAILED_PRECONDITION,  # it is pending
        knowing=(Code.FAILED_PRECONDITION, Code.NOT_FOUND),
    ),
    "GetHomeUsage": Row(
        lambda t: ss.GetHomeUsageRequest(home_id=t.account_id), elsewhere=Code.OK
    ),
    # Before the row that deletes the object.
    "CopyObject": Row(
        lambda t: ss.CopyObjectRequest(
            source_key=t.storage_key, target_key=t.storage_key, sha256=SHA256,
            size_bytes=len(BYTES),
        ),
        knowing=(Code.OK, Code.NOT_FOUND),
    ),
    "DeleteObject": Row(
        lambda t: ss.DeleteObjectRequest(storage_key=t.storage_key), elsewhere=Code.OK
    ),
}

_CATALOG: dict[str, Row] = {
    "GetBackendCatalog": Row(
        lambda t: cs.GetBackendCatalogRequest(), EVERYBODY, elsewhere=None
    ),
    "GetParity": Row(lambda t: cs.GetParityRequest(), EVERYBODY, elsewhere=None),
    "GetBackendSelection": Row(
        lambda t: cs.GetBackendSelectionRequest(), EVERYBODY, elsewhere=None
    ),
}

_SYNCING = OWNER | PLATFORM
_CONNECTION: dict[str, Row] = {
    "CreateConnection": Row(
        lambda t: css.CreateConnectionRequest(
            connection=co.Connection(
                provider="local", settings={"folder": f"new-{t.account_id}"},
                scope=co.SyncScope(
                    type=co.SYNC_SCOPE_TYPE_ACCOUNTS, account_ids=[t.account_id]
                ),
            )
        ),
        _SYNCING,
        knowing=(Code.OK, Code.OK),
    ),
    "GetConnection": Row(
        lambda t: css.GetConnectionRequest(connection_id=t.connection_id),
        _SYNCING,
        knowing=(Code.OK, DENIED),
    ),
    "ListConnections": Row(lambda t: css.ListConnectionsRequest(), EVERYBODY, elsewhere=None),
    "UpdateConnection": Row(
        lambda t: css.UpdateConnectionRequest(
            connection=co.Connection(connection_id=t.connection_id, note="blue"),
            update_mask=mask("note"),
        ),
        _SYNCING,
        knowing=(Code.OK, DENIED),
    ),
    "TestConnection": Row(
        lambda t: css.TestConnectionRequest(connection_id=t.connection_id),
        _SYNCING,
        knowing=(Code.OK, DENIED),
    ),
}
_SYNC: dict[str, Row] = {
    "StartSync": Row(
        lambda t: sysv.StartSyncRequest(
            connection_id=t.connection_id, direction=SyncDirection.SYNC_DIRECTION_PUSH
        ),
        _SYNCING,
        knowing=(Code.OK, DENIED),
    ),
    "GetRun": Row(
        lambda t: sysv.GetRunRequest(run_id=t.run_id), _SYNCING, knowing=(Code.OK, DENIED)
    ),
    "ListRuns": Row(lambda t: sysv.ListRunsRequest(), EVERYBODY, elsewhere=None),
    "WatchRun": Row(
        lambda t: sysv.WatchRunRequest(run_id=t.run_id), _SYNCING, knowing=(Code.OK, DENIED)
    ),
    "CancelRun": Row(
        lambda t: sysv.CancelRunRequest(run_id=t.run_id),
        _SYNCING,
        answer=Code.FAILED_PRECONDITION,  # it has ended
        knowing=(Code.FAILED_PRECONDITION, DENIED),
    ),
    "PlanSync": Row(
        lambda t: sysv.PlanSyncRequest(
            connection_id=t.connection_id, direction=SyncDirection.SYNC_DIRECTION_PUSH
        ),
        _SYNCING,
        knowing=(Code.OK, DENIED),
    ),
    "CompareSurfaces": Row(
        lambda t: sysv.CompareSurfacesRequest(connection_id=t.connection_id),
        _SYNCING,
        knowing=(Code.OK, DENIED),
    ),
    "GetSyncStatus": Row(
        lambda t: sysv.GetSyncStatusRequest(connection_id=t.connection_id),
        _SYNCING,
        knowing=(Code.OK, DENIED),
    ),
    "Push": Row(
        lambda t: sysv.PushRequest(connection_id=t.connection_id),
        _SYNCING,
        knowing=(Code.OK, DENIED),
    ),
    "ListQuarantine": Row(
        lambda t: sysv.ListQuarantineRequest(connection_id=t.connection_id),
        _SYNCING,
        knowing=(Code.OK, DENIED),
    ),
    "RetryQuarantined": Row(
        lambda t: sysv.RetryQuarantinedRequest(quarantine_ids=["q_none"]),
        EVERYBODY,
        elsewhere=None,
    ),
    "ListConflicts": Row(
        lambda t: sysv.ListConflictsRequest(project_id=t.project_id),
        MEMBERS | PLATFORM,
        knowing=(Code.OK, Code.OK),
    ),
    "GetConflict": Row(
        lambda t: sysv.GetConflictRequest(conflict_id=t.conflict_id), MEMBERS
    ),
    "ResolveConflict": Row(
        lambda t: sysv.ResolveConflictRequest(
            conflict_id=t.conflict_id, resolution=Resolution(ours=Resolution.Ours())
        ),
        EDITORS,
    ),
    "ResolveProjectConflicts": Row(
        lambda t: sysv.ResolveProjectConflictsRequest(
            project_id=t.project_id, resolution=ProjectResolution.PROJECT_RESOLUTION_OURS
        ),
        EDITORS,
    ),
    "ListNodes": Row(lambda t: sysv.ListNodesRequest(), PLATFORM, elsewhere=None),
    "EvictNode": Row(
        lambda t: sysv.EvictNodeRequest(node_id="n0"), PLATFORM, answer=Code.NOT_FOUND,
        elsewhere=None,
    ),
    "Pull": Row(
        lambda t: sysv.PullRequest(connection_id=t.connection_id),
        _SYNCING,
        knowing=(Code.OK, DENIED),
    ),
}
_CONNECTION_END: dict[str, Row] = {
    "DeleteConnection": Row(
        lambda t: css.DeleteConnectionRequest(connection_id=t.connection_id),
        _SYNCING,
        knowing=(Code.OK, DENIED),
    ),
}


ROWS: dict[str, Row] = {
    f"/workspace.{service}/{name}": row
    for service, rows in {
        # First: rows of accounts suspend the home of the foreign project.
        "project.v1.GrantService": _GRANT,
        "identity.v1.IdentityService": _IDENTITY,
        "identity.v1.AccountService": _ACCOUNT,
        "identity.v1.TeamService": _TEAM,
        "identity.v1.InvitationService": _INVITATION,
        "identity.v1.PreferenceService": _PREFERENCE,
        "project.v1.ProjectService": _PROJECT,
        "project.v1.PermissionService": _PERMISSION,
        "project.v1.DocumentService": _DOCUMENT,
        "project.v1.HistoryService": _HISTORY,
        "storage.v1.StorageService": _STORAGE,
        "storage.v1.CatalogService": _CATALOG,
        "sync.v1.ConnectionService": _CONNECTION,
        "sync.v1.SyncService": _SYNC,
    }.items()
    for name, row in rows.items()
} | {  # last: a platform admin takes away the connection of strangers, too
    f"/workspace.sync.v1.ConnectionService/{name}": row for name, row in _CONNECTION_END.items()
}
"""By full method name."""
