"""Projects over the whole interceptor stack, beside an identity that tests set.

The project services, the record store and every call are real. What
identity would answer is held in tables here, so that a test can suspend an
account or disable a user between two calls.
"""

from __future__ import annotations

import time
import uuid
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import grpc
import grpc.aio
from google.rpc import status_pb2
from prometheus_client import CollectorRegistry
from workspace.common.v1.classification_pb2 import Classification
from workspace.common.v1.error_reason_pb2 import ErrorReason
from workspace.common.v1.visibility_pb2 import Visibility
from workspace.identity.v1 import account_pb2 as accounts
from workspace.identity.v1 import identity_service_pb2 as identity
from workspace.identity.v1 import team_pb2 as teams
from workspace.identity.v1.account_service_pb2 import GetAccountResponse
from workspace.identity.v1.account_service_pb2_grpc import (
    AccountServiceServicer,
    add_AccountServiceServicer_to_server,
)
from workspace.identity.v1.identity_service_pb2_grpc import (
    IdentityServiceServicer,
    add_IdentityServiceServicer_to_server,
)
from workspace.identity.v1.membership_pb2 import Membership, MembershipFact
from workspace.identity.v1.user_pb2 import User, UserStatus
from workspace.project.v1.grant_service_pb2_grpc import GrantServiceStub
from workspace.project.v1.permission_service_pb2_grpc import PermissionServiceStub
from workspace.project.v1.project_service_pb2_grpc import ProjectServiceStub

from project_svc.documents.indexing import Indexing
from project_svc.module import build
from services.events.due import DueWork
from services.events.feed import Feed
from services.kernel import Kernel
from services.model.clocks import HybridClock
from services.model.errors import permission_denied
from services.records.mutation import Mutations
from services.records.store import RecordStore
from services.rpc.channels import PeerChannel
from services.rpc.consistency import ConsistencyTokens
from services.rpc.context import Caller, current_call
from services.rpc.errors import error_info, peer_status
from services.rpc.local import LocalChannel, LocalServer
from services.rpc.page_tokens import PageTokens
from services.rpc.policy import USER, Rule, service
from services.rpc.registration import register
from services.rpc.stack import build_interceptors
from services.rpc.validation import Validator
from services.settings import Settings
from services.telemetry.metrics import RpcMetrics
from services.telemetry.traces import open_tracing
from tests.chosen_records import open_chosen

S = TypeVar("S")
KEY = b"k" * 32
Role = accounts.AccountRole
ACTIVE_MEMBER = accounts.MemberStatus.MEMBER_STATUS_ACTIVE
ACCOUNT_SCOPE = teams.TeamScopeType.TEAM_SCOPE_TYPE_ACCOUNT
WORKSPACE_SCOPE = teams.TeamScopeType.TEAM_SCOPE_TYPE_PERSONAL_WORKSPACE
STANDALONE = teams.TeamScopeType.TEAM_SCOPE_TYPE_STANDALONE


@dataclass
class People:
    """What identity knows, as tables."""

    users: dict[str, int] = field(default_factory=dict)
    accounts: dict[str, accounts.Account] = field(default_factory=dict)
    members: dict[tuple[str, str], accounts.AccountMember] = field(default_factory=dict)
    teams: dict[str, teams.Team] = field(default_factory=dict)
    team_members: dict[tuple[str, str], teams.TeamMember] = field(default_factory=dict)
    unreadable: set[str] = field(default_factory=set)

    def user(self, user_id: str) -> str:
        self.users[user_id] = UserStatus.USER_STATUS_ACTIVE
        self.account(f"w_{user_id}", type="personal")
        self.member(f"w_{user_id}", user_id, Role.ACCOUNT_ROLE_OWNER)
        return user_id

    def account(self, account_id: str, **fields: Any) -> str:
        fields.setdefault("type", "client_org")
        fields.setdefault("status", accounts.AccountStatus.ACCOUNT_STATUS_ACTIVE)
        fields.setdefault("data_classification", Classification.CLASSIFICATION_INTERNAL)
        fields.setdefault("default_project_visibility", Visibility.VISIBILITY_PRIVATE)
        self.accounts[account_id] = accounts.Account(account_id=account_id, **fields)
        return account_id

    def member(self, account_id: str, user_id: str, role: int, **fields: Any) -> None:
        fields.setdefault("status", ACTIVE_MEMBER)
        self.members[account_id, user_id] = accounts.AccountMember(
            account_id=account_id, user_id=user_id, role=role, **fields
        )

    def team(self, team_id: str, *members: str, scope: int, home: str = "") -> str:
        self.teams[team_id] = teams.Team(
            team_id=team_id,
            scope_type=scope,
            status=teams.TeamStatus.TEAM_STATUS_ACTIVE,
            account_id=home if scope == ACCOUNT_SCOPE else "",
            workspace_id=home if scope == WORKSPACE_SCOPE else "",
        )
        for user_id in members:
            self.team_members[team_id, user_id] = teams.TeamMember(
                team_id=team_id,
                user_id=user_id,
                status=ACTIVE_MEMBER,
                role=teams.TeamRole.TEAM_ROLE_MEMBER,
            )
        return team_id

    def fact(self, user_id: str, scope: Any) -> MembershipFact:
        if scope.WhichOneof("scope") == "account_id":
            return self._account_fact(user_id, scope, scope.account_id)
        team = self.teams.get(scope.team_id, teams.Team())
        member = self.team_members.get((scope.team_id, user_id), teams.TeamMember())
        fact = self._account_fact(user_id, scope, team.account_id)
        fact.account_id = team.account_id
        fact.workspace_id = team.workspace_id
        fact.member_status = member.status
        fact.team_status = team.status
        fact.scope_type = team.scope_type
        fact.team_role = member.role
        fact.guest = member.guest
        return fact

    def _account_fact(self, user_id: str, scope: Any, account_id: str) -> MembershipFact:
        account = self.accounts.get(account_id, accounts.Account())
        member = self.members.get((account_id, user_id), accounts.AccountMember())
        return MembershipFact(
            scope=scope,
            user_id=user_id,
            user_status=self.users.get(user_id, 0),
            member_status=member.status,
            account_id=account.account_id,
            workspace_id=account.account_id if account.type == "personal" else "",
            account_status=account.status,
            account_member_status=member.status,
            account_role=member.role,
            capabilities=member.permissions,
            data_classification=account.data_classification,
            legal_hold=account.legal_hold,
        )


class _Identity(IdentityServiceServicer):
    def __init__(self, people: People) -> None:
        self.people = people
        self.batches = 0

    async def BatchGetMemberships(self, request: Any, _: Any) -> Any:  # noqa: N802
        self.batches += 1
        answer = identity.BatchGetMembershipsResponse(
            user_status=self.people.users.get(request.user_id, 0)
        )
        for scope in request.scopes:
            if (scope.account_id or scope.team_id) in self.people.unreadable:
                answer.results.add(scope=scope, error=status_pb2.Status(code=14))
            else:
                answer.results.add(scope=scope, fact=self.people.fact(request.user_id, scope))
        return answer

    async def ListMemberships(self, request: Any, _: Any) -> Any:  # noqa: N802
        rows = [
            Membership(account_member=m)
            for (_, user), m in self.people.members.items()
            if user == request.user_id and m.status == request.status
        ]
        rows += [
            Membership(team_member=m)
            for (_, user), m in self.people.team_members.items()
            if user == request.user_id and m.status == request.status
        ]
        return identity.ListMembershipsResponse(memberships=rows)

    async def ResolveUser(self, request: Any, _: Any) -> Any:  # noqa: N802
        user_id = request.email.removesuffix("@example.com")
        known = self.people.users.get(user_id) == UserStatus.USER_STATUS_ACTIVE
        return identity.ResolveUserResponse(user_id=user_id if known else "")

    async def GetUser(self, request: Any, _: Any) -> Any:  # noqa: N802
        user = User(user_id=request.user_id, personal_workspace_id=f"w_{request.user_id}")
        return identity.GetUserResponse(user=user)


class _Accounts(AccountServiceServicer):
    def __init__(self, people: People) -> None:
        self.people = people

    async def GetAccount(self, request: Any, _: Any) -> Any:  # noqa: N802
        member = self.people.members.get((request.account_id, current_call().user_id))
        if member is None or member.status != ACTIVE_MEMBER:
            raise permission_denied("view", f"accounts/{request.account_id}")
        return GetAccountResponse(account=self.people.accounts[request.account_id])


class _Tokens:
    """The bearer is the user id."""

    async def authenticate(self, bearer: str) -> Caller:
        return Caller(user_id=bearer, issuer="test", subject=bearer)


class _Everybody:
    async def admit(self, caller: Caller) -> None:
        del caller


class _As(grpc.aio.Channel):
    """A channel that calls as one user."""

    def __init__(self, channel: grpc.aio.Channel, bearer: str) -> None:
        self._channel = channel
        self._metadata = (("authorization", f"Bearer {bearer}"),) if bearer else ()

    def unary_unary(self, *args: Any, **kwargs: Any) -> Any:
        call = self._channel.unary_unary(*args, **kwargs)
        return lambda request, **more: call(request, metadata=self._metadata, **more)

    def _none(self, *_: Any, **__: Any) -> Any:
        return None

    unary_stream = stream_unary = stream_stream = _none
    close = get_state = wait_for_state_change = channel_ready = _none
    __aenter__ = __aexit__ = _none


class World:
    """The services and a clock that tests move."""

    def __init__(self, records: RecordStore, people: People, data_dir: Path) -> None:
        self.records = records
        self.people = people
        self.offset = 0.0
        self.identity = _Identity(people)
        consistency = ConsistencyTokens(KEY, "n_test")
        self.kernel = Kernel(
            settings=Settings(data_dir=data_dir, permission_cache=False),
            records=records,
            objects=None,  # type: ignore[arg-type]  # no project RPC touches objects
            mutations=Mutations(records, instance_key=KEY, consistency=consistency),
            page_tokens=PageTokens(KEY),
            consistency=consistency,
            instance_id="n_test",
            instance_key=KEY,
            keys_dir=data_dir,
            now=self.now,
            feed=Feed(records, now=self.now),
            due=DueWork(records, now=self.now),
        )
        prefix = "/workspace.identity.v1."
        policy: dict[str, Rule] = {
            prefix + "IdentityService/BatchGetMemberships": service("project_svc"),
            prefix + "IdentityService/ListMemberships": service("project_svc"),
            prefix + "IdentityService/ResolveUser": service("project_svc"),
            prefix + "IdentityService/GetUser": USER,
            prefix + "AccountService/GetAccount": USER,
        }
        self.server = LocalServer(
            interceptors=build_interceptors(
                policy=policy,
                authenticator=_Tokens(),
                admission=_Everybody(),
                validator=Validator(),
                metrics=RpcMetrics(CollectorRegistry()),
                tracing=open_tracing(None, service_name="test"),
                services={},
            )
        )
        module = build(self.kernel, lambda _, *, asking: PeerChannel(self._local(asking)))
        owners: list[Any] = [getattr(run, "__self__", None) for run in module.background]
        self.indexing = next(each for each in owners if isinstance(each, Indexing))
        policy.update(module.policy)
        for registration in module.registrations:
            register(self.server, registration.add, registration.servicer)
        register(self.server, add_IdentityServiceServicer_to_server, self.identity)
        register(self.server, add_AccountServiceServicer_to_server, _Accounts(people))

    def now(self) -> float:
        return time.time() + self.offset

    def _local(self, asking: str) -> LocalChannel:
        return LocalChannel(self.server, service=asking)

    def stub(self, stub: Callable[[Any], S], user_id: str, *, asking: str = "") -> S:
        return stub(_As(self._local(asking), user_id))

    def projects(self, user_id: str) -> Any:
        return self.stub(ProjectServiceStub, user_id)

    def grants(self, user_id: str) -> Any:
        return self.stub(GrantServiceStub, user_id)

    def permissions(self, user_id: str, *, asking: str = "") -> Any:
        return self.stub(PermissionServiceStub, user_id, asking=asking)


@asynccontextmanager
async def open_world(data_dir: Path) -> AsyncIterator[World]:
    """A fresh store in `data_dir`, closed at the end."""
    driver = await open_chosen(data_dir)
    clock = HybridClock(lambda: int(time.time() * 1000))
    records = RecordStore(driver, actor="n_test.1", clock=clock)
    try:
        yield World(records, People(), data_dir)
    finally:
        await records.close()


def request_id() -> str:
    return str(uuid.uuid4())


class Refused:
    """What a refused call said."""

    def __init__(self, error: grpc.aio.AioRpcError) -> None:
        status = peer_status(error)
        assert status is not None, error
        info = error_info(status)
        assert info is not None
        self.code = error.code()
        self.reason = info.reason.removeprefix("ERROR_REASON_")
        self.metadata = dict(info.metadata)
        self.message = status.message
        assert info.reason in ErrorReason.keys()  # noqa: SIM118 - a protobuf enum


async def refused(call: Any) -> Refused:
    """The refusal of a call that must be refused."""
    try:
        answer = await call
    except grpc.aio.AioRpcError as error:
        return Refused(error)
    raise AssertionError(f"was allowed: {answer}")
