"""Assembles the services of this package from the kernel and the peers."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

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
from workspace.storage.v1 import storage_service_pb2_grpc

from identity_svc.accounts.accounts import Accounts
from identity_svc.accounts.claims import Claims
from identity_svc.accounts.deletion import ACCOUNT_PURGE, Deletion
from identity_svc.accounts.grant_cleanup import GrantCleanup
from identity_svc.accounts.members import AccountMembers
from identity_svc.accounts.ownership import Ownership
from identity_svc.accounts.routing import Routing
from identity_svc.accounts.usage import Usage
from identity_svc.arrivals import Arrivals
from identity_svc.directory import Directory
from identity_svc.invitations.module import invitation_parts
from identity_svc.invitations.tokens import InvitationTokens
from identity_svc.memberships.membership_changes import membership_trials
from identity_svc.memberships.memberships import Memberships
from identity_svc.memberships.scope_members import ScopeMembers
from identity_svc.memberships.watch_memberships import MembershipWatch
from identity_svc.notifications.conflict_news import MAIL_CONFLICT
from identity_svc.notifications.parts import notification_parts
from identity_svc.policy import POLICY
from identity_svc.servicers.account import AccountServicer
from identity_svc.servicers.identity import IdentityServicer
from identity_svc.servicers.preference import PreferenceServicer
from identity_svc.servicers.team import TeamServicer
from identity_svc.teams.cleanup import TeamCleanup
from identity_svc.teams.legacy import LegacyTeams
from identity_svc.teams.members import TeamMembers
from identity_svc.teams.teams import Teams
from identity_svc.teams.visible import VisibleTeams
from identity_svc.users.copies import MemberCopies
from identity_svc.users.erasure import ERASURE, Erasures
from identity_svc.users.export import AccountExport, UserExport
from identity_svc.users.holdings import Holdings
from identity_svc.users.links import Links
from identity_svc.users.local_tokens import LocalTokens
from identity_svc.users.machine_tokens import MachineTokens
from identity_svc.users.orphans import Orphans
from identity_svc.users.platform import PlatformAdmins
from identity_svc.users.preferences import Preferences
from identity_svc.users.revocation import Revocation
from identity_svc.users.sessions import Sessions
from identity_svc.users.sign_in import SignIn
from identity_svc.users.users import Users
from services.kernel import Kernel, Peers, Registration, ServiceModule
from services.rate_limits import RateLimiter
from services.tokens.authenticator import TokenAuthenticator
from services.tokens.local import LocalIssuer
from services.tokens.local_secret import LocalSecret
from services.tokens.providers import open_authenticator

if TYPE_CHECKING:  # the generated class exists for type checkers only
    from workspace.project.v1.grant_service_pb2_grpc import GrantServiceAsyncStub
    from workspace.project.v1.permission_service_pb2_grpc import PermissionServiceAsyncStub

__all__ = ["build"]

_ME = "identity_svc"
_PACKAGE = "workspace.identity.v1."


def build(kernel: Kernel, peers: Peers) -> ServiceModule:
    """The identity services of one process; makes the key files at the first start."""
    issuer = LocalIssuer.open(
        kernel.keys_dir, realm=kernel.settings.local_realm or kernel.instance_id
    )
    secret = LocalSecret.open(kernel.keys_dir, now=kernel.now)
    lookups = RateLimiter("failed_lookups", maximum=20, period=60, now=time.monotonic)
    directory = Directory(kernel.records, local_issuer=issuer.issuer, lookups=lookups)
    invitations = invitation_parts(kernel, peers, directory)
    notifications = notification_parts(kernel, peers, directory)
    erasures = _erasures(kernel, peers, directory)
    arrivals = Arrivals(
        kernel, directory, told=notifications.due[MAIL_CONFLICT], erased=erasures.arrived
    )
    authenticator = open_authenticator(kernel.settings, issuer, kernel.records, now=kernel.now)
    registrations = [
        _identity(kernel, peers, directory, issuer, secret, authenticator),
        _accounts(kernel, peers, directory),
        _teams(kernel, directory),
        _preferences(kernel),
        invitations.registration,
    ]
    return ServiceModule(
        name=_ME,
        registrations=registrations,
        policy=POLICY,
        authenticator=authenticator,
        due={
            **invitations.due,
            **notifications.due,
            **arrivals.due,
            ACCOUNT_PURGE: Deletion(kernel, directory, _grants(peers)).run,
            ERASURE: erasures.run,
        },
        # Who owns what is looked for by indexes, and nothing else here follows the feed.
        background=(kernel.feed.keep_up,),
        chores=(arrivals.follower.run,),
        consumers=notifications.consumers,
    )


def _identity(
    kernel: Kernel,
    peers: Peers,
    directory: Directory,
    issuer: LocalIssuer,
    secret: LocalSecret,
    authenticator: TokenAuthenticator,
) -> Registration:
    copies = MemberCopies(kernel.records)
    orphans = Orphans(directory, _grants(peers), kernel.feed)
    # What a servicer does not implement is not registered: gRPC answers UNIMPLEMENTED.
    servicer = IdentityServicer(
        sign_in=SignIn(kernel, directory, copies),
        sessions=_sessions(kernel, peers, directory),
        users=Users(kernel, directory, copies, orphans),
        erasures=_erasures(kernel, peers, directory),
        export=UserExport(kernel, directory),
        revocation=Revocation(kernel, directory),
        local_tokens=LocalTokens(kernel, directory, issuer, secret),
        links=Links(kernel, directory, Holdings(directory), authenticator),
        machine_tokens=MachineTokens(kernel, directory, _permissions(peers)),
        platform=PlatformAdmins(kernel, secret),
        memberships=Memberships(kernel),
        watch=MembershipWatch(kernel),
        scope_members=ScopeMembers(kernel),
        trials=membership_trials(kernel, directory, orphans),
    )
    return Registration(
        identity_service_pb2_grpc.add_IdentityServiceServicer_to_server,
        servicer,
        _PACKAGE + "IdentityService",
    )


def _permissions(peers: Peers) -> PermissionServiceAsyncStub:
    return permission_service_pb2_grpc.PermissionServiceStub(peers("project", asking=_ME))


def _sessions(kernel: Kernel, peers: Peers, directory: Directory) -> Sessions:
    channel = peers("project", asking=_ME)
    return Sessions(
        directory,
        Preferences(kernel),
        projects=project_service_pb2_grpc.ProjectServiceStub(channel),
        permissions=permission_service_pb2_grpc.PermissionServiceStub(channel),
    )


def _accounts(kernel: Kernel, peers: Peers, directory: Directory) -> Registration:
    grants = _grants(peers)
    servicer = AccountServicer(
        accounts=Accounts(kernel, directory),
        members=AccountMembers(
            kernel, directory, TeamCleanup(kernel, directory), GrantCleanup(grants)
        ),
        ownership=Ownership(kernel, directory),
        routing=Routing(kernel, directory),
        claims=Claims(directory, grants),
        deletion=Deletion(kernel, directory, grants),
        export=AccountExport(kernel, directory),
        usage=Usage(
            kernel,
            directory,
            projects=project_service_pb2_grpc.ProjectServiceStub(peers("project", asking=_ME)),
            storage=storage_service_pb2_grpc.StorageServiceStub(peers("storage", asking=_ME)),
        ),
    )
    return Registration(
        account_service_pb2_grpc.add_AccountServiceServicer_to_server,
        servicer,
        _PACKAGE + "AccountService",
    )


def _erasures(kernel: Kernel, peers: Peers, directory: Directory) -> Erasures:
    return Erasures(kernel, directory, Orphans(directory, _grants(peers), kernel.feed))


def _grants(peers: Peers) -> GrantServiceAsyncStub:
    return grant_service_pb2_grpc.GrantServiceStub(peers("project", asking=_ME))


def _teams(kernel: Kernel, directory: Directory) -> Registration:
    servicer = TeamServicer(
        teams=Teams(kernel, directory, VisibleTeams(directory)),
        members=TeamMembers(kernel, directory),
        legacy=LegacyTeams(kernel, directory, InvitationTokens(kernel.instance_key)),
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
