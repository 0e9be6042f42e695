"""Assembles the services of this package from the kernel and the peers."""

from __future__ import annotations

from workspace.identity.v1 import (
    account_service_pb2_grpc,
    identity_service_pb2_grpc,
    preference_service_pb2_grpc,
    team_service_pb2_grpc,
)
from workspace.project.v1 import (
    grant_service_pb2_grpc,
    permission_service_pb2_grpc,
    project_service_pb2_grpc,
)

from identity_svc.account_members import AccountMembers
from identity_svc.accounts import Accounts
from identity_svc.copies import MemberCopies
from identity_svc.directory import Directory
from identity_svc.grant_cleanup import GrantCleanup
from identity_svc.local_tokens import LocalTokens
from identity_svc.memberships import Memberships
from identity_svc.orphans import Orphans
from identity_svc.ownership import Ownership
from identity_svc.platform import PlatformAdmins
from identity_svc.policy import POLICY
from identity_svc.preferences import Preferences
from identity_svc.revocation import Revocation
from identity_svc.servicers.account import AccountServicer
from identity_svc.servicers.identity import IdentityServicer
from identity_svc.servicers.preference import PreferenceServicer
from identity_svc.servicers.team import TeamServicer
from identity_svc.sessions import Sessions
from identity_svc.sign_in import SignIn
from identity_svc.team_cleanup import TeamCleanup
from identity_svc.team_members import TeamMembers
from identity_svc.teams import Teams
from identity_svc.users import Users
from identity_svc.visible_teams import VisibleTeams
from services.kernel import Kernel, Peers, Registration, ServiceModule
from services.tokens.authenticator import TokenAuthenticator
from services.tokens.local import LocalIssuer
from services.tokens.local_secret import LocalSecret

__all__ = ["build"]

_ME = "identity_svc"
_PACKAGE = "workspace.identity.v1."


def build(kernel: Kernel, peers: Peers) -> ServiceModule:
    """The identity services of one process; makes the key files at the first start."""
    issuer = LocalIssuer.open(kernel.keys_dir, instance_id=kernel.instance_id)
    secret = LocalSecret.open(kernel.keys_dir, now=kernel.now)
    directory = Directory(kernel.records, local_issuer=issuer.issuer)
    registrations = [
        _identity(kernel, peers, directory, issuer, secret),
        _accounts(kernel, peers, directory),
        _teams(kernel, directory),
        _preferences(kernel),
    ]
    return ServiceModule(
        name=_ME,
        registrations=registrations,
        policy=POLICY,
        authenticator=TokenAuthenticator([issuer.verifier(now=kernel.now)], now=kernel.now),
    )


def _identity(
    kernel: Kernel, peers: Peers, directory: Directory, issuer: LocalIssuer, secret: LocalSecret
) -> Registration:
    copies = MemberCopies(kernel.records)
    # What a servicer does not implement is not registered: gRPC answers UNIMPLEMENTED.
    servicer = IdentityServicer(  # type: ignore[abstract]
        sign_in=SignIn(kernel, directory, copies),
        sessions=_sessions(kernel, peers, directory),
        users=Users(kernel, directory, copies, Orphans(directory)),
        revocation=Revocation(kernel, directory),
        local_tokens=LocalTokens(kernel, directory, issuer, secret),
        platform=PlatformAdmins(kernel, secret),
        memberships=Memberships(kernel),
    )
    return Registration(
        identity_service_pb2_grpc.add_IdentityServiceServicer_to_server,
        servicer,
        _PACKAGE + "IdentityService",
    )


def _sessions(kernel: Kernel, peers: Peers, directory: Directory) -> Sessions:
    channel = peers("project", asking=_ME)
    return Sessions(
        directory,
        Preferences(kernel),
        projects=project_service_pb2_grpc.ProjectServiceStub(channel),
        permissions=permission_service_pb2_grpc.PermissionServiceStub(channel),
    )


def _accounts(kernel: Kernel, peers: Peers, directory: Directory) -> Registration:
    grants = grant_service_pb2_grpc.GrantServiceStub(peers("project", asking=_ME))
    servicer = AccountServicer(  # type: ignore[abstract]
        accounts=Accounts(kernel, directory),
        members=AccountMembers(
            kernel, directory, TeamCleanup(kernel, directory), GrantCleanup(grants)
        ),
        ownership=Ownership(kernel, directory),
    )
    return Registration(
        account_service_pb2_grpc.add_AccountServiceServicer_to_server,
        servicer,
        _PACKAGE + "AccountService",
    )


def _teams(kernel: Kernel, directory: Directory) -> Registration:
    servicer = TeamServicer(  # type: ignore[abstract]
        teams=Teams(kernel, directory, VisibleTeams(directory)),
        members=TeamMembers(kernel, directory),
    )
    return Registration(
        team_service_pb2_grpc.add_TeamServiceServicer_to_server,
        servicer,
        _PACKAGE + "TeamService",
    )


def _preferences(kernel: Kernel) -> Registration:
    return Registration(
        preference_service_pb2_grpc.add_PreferenceServiceServicer_to_server,
        PreferenceServicer(preferences=Preferences(kernel)),
        _PACKAGE + "PreferenceService",
    )
