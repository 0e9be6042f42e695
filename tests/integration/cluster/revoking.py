"""What is taken away in the tests of revocation, and how replicas are asked about it."""

from __future__ import annotations

import asyncio
import time
import uuid
from abc import abstractmethod
from collections.abc import Sequence
from typing import Any

import grpc
import grpc.aio
from workspace.common.v1.consistency_pb2 import Consistency
from workspace.common.v1.permission_pb2 import Permission
from workspace.identity.v1 import account_pb2 as ac
from workspace.identity.v1 import account_service_pb2 as acs
from workspace.identity.v1 import identity_service_pb2 as ids
from workspace.identity.v1 import team_pb2 as tm
from workspace.identity.v1 import team_service_pb2 as tms
from workspace.identity.v1.account_service_pb2_grpc import AccountServiceStub
from workspace.identity.v1.identity_service_pb2_grpc import IdentityServiceStub
from workspace.identity.v1.team_service_pb2_grpc import TeamServiceStub
from workspace.project.v1 import grant_service_pb2 as gs
from workspace.project.v1 import permission_service_pb2 as pb
from workspace.project.v1 import project_service_pb2 as ps
from workspace.project.v1.grant_pb2 import GrantTargetType
from workspace.project.v1.grant_service_pb2_grpc import GrantServiceStub
from workspace.project.v1.permission_service_pb2_grpc import PermissionServiceStub
from workspace.project.v1.project_service_pb2_grpc import ProjectServiceStub

from tests.cluster import Node
from tests.replicas import Replicas

__all__ = ["FULLY", "KINDS", "LATENCY", "Asked", "Right", "World", "as_fresh_as", "ask_for"]

FULLY = Consistency(fully_consistent=True)
LATENCY = Consistency(minimize_latency=True)
VIEW = Permission.PERMISSION_VIEW
_SECONDS = 10.0


def as_fresh_as(token: str) -> Consistency:
    return Consistency(at_least_as_fresh=Consistency.AtLeastAsFresh(tokens=[token]))


class World:
    """ann owns an account; bob is to lose what he has. `admin` is of the
    platform. What changes is asked of `writer`, a process of identity."""

    def __init__(self, replicas: Replicas, writer: Node) -> None:
        self.replicas = replicas
        self.writer = writer
        self.account_id = ""
        self.tokens: dict[str, str] = {}
        self.users: dict[str, str] = {}
        self._stubs: dict[Any, Any] = {}

    @classmethod
    async def make(cls, replicas: Replicas) -> World:
        """Everybody signed in, bob in the account."""
        world = cls(replicas, replicas.nodes["identity"][2])
        await replicas.make_admin("admin@example.com")
        for name in ("admin", "ann", "bob"):
            await world.sign_in(name)
        account = await world.accounts.CreateAccount(
            acs.CreateAccountRequest(name="One", type="client_org"), timeout=_SECONDS
        )
        world.account_id = account.account.account_id
        await world.join()
        return world

    async def sign_in(self, name: str) -> str:
        """A new token."""
        token = self.tokens[name] = await self.replicas.sign_in(f"{name}@example.com")
        me = await self.stub(IdentityServiceStub, self.writer, token=token).GetSession(
            ids.GetSessionRequest(), timeout=_SECONDS
        )
        self.users[name] = me.session.user.user_id
        return token

    def stub(self, stub: Any, node: Node, *, as_: str = "ann", token: str = "") -> Any:
        """One person's stub at one process."""
        key = (stub, node.name, token or self.tokens[as_])
        if key not in self._stubs:
            self._stubs[key] = stub(self.replicas.channel(key[2], node=node))
        return self._stubs[key]

    @property
    def accounts(self) -> Any:
        return self.stub(AccountServiceStub, self.writer)

    @property
    def teams(self) -> Any:
        return self.stub(TeamServiceStub, self.writer)

    @property
    def first(self) -> Node:
        """The process of project_svc through which grants are revoked."""
        return self.replicas.one("project")

    async def join(self) -> None:
        """bob comes into the account."""
        await self.accounts.AddAccountMember(
            acs.AddAccountMemberRequest(
                account_id=self.account_id, user_id=self.users["bob"],
                role=ac.ACCOUNT_ROLE_VIEWER,
            ),
            timeout=_SECONDS,
        )  # fmt: skip

    async def project(self, *, restricted: bool = True) -> str:
        made = await self.stub(ProjectServiceStub, self.first).CreateProject(
            ps.CreateProjectRequest(
                name=f"Plan {uuid.uuid4().hex[:8]}", account_id=self.account_id,
                restricted=restricted,
            ),
            timeout=_SECONDS,
        )  # fmt: skip
        return str(made.project.project_id)

    async def grant(self, project_id: str, kind: Any, target_id: str) -> str:
        made = await self.stub(GrantServiceStub, self.first).CreateGrant(
            gs.CreateGrantRequest(
                project_id=project_id, target_type=kind, target_id=target_id, permissions=[VIEW]
            ),
            timeout=_SECONDS,
        )
        return str(made.grant.grant_id)


class Right:
    """Something that lets bob view `project_id`. It is ann or bob who asks."""

    asker = "bob"

    def __init__(self, world: World) -> None:
        self.world = world
        self.project_id = ""

    @abstractmethod
    async def give(self) -> None:
        """bob has it from now on."""

    @abstractmethod
    async def take(self) -> str:
        """bob has it no more; the token of the answer."""

    async def allowed(self, node: Node, level: Consistency) -> bool:
        """What a replica says."""
        stub = self.world.stub(PermissionServiceStub, node, as_=self.asker)
        request = pb.CheckPermissionRequest(
            project_id=self.project_id, permission=VIEW, consistency=level,
            user_id=self.world.users["bob"],
        )  # fmt: skip
        return bool((await stub.CheckPermission(request, timeout=_SECONDS)).allowed)

    async def warm(self, nodes: Sequence[Node]) -> None:
        """Every replica says yes, and has what it needs for that in its cache."""
        await asyncio.gather(*(self._warm(node) for node in nodes))

    async def _warm(self, node: Node) -> None:
        until = time.monotonic() + 30
        while not await self.allowed(node, LATENCY):
            assert time.monotonic() < until, f"{node.name} never says yes"
            await asyncio.sleep(0.02)
        for _ in range(5):
            assert await self.allowed(node, LATENCY)


class AccountMember(Right):
    async def give(self) -> None:
        if not self.project_id:
            self.project_id = await self.world.project(restricted=False)
        else:
            await self.world.join()

    async def take(self) -> str:
        gone = await self.world.accounts.RemoveAccountMember(
            acs.RemoveAccountMemberRequest(
                account_id=self.world.account_id, user_id=self.world.users["bob"]
            ),
            timeout=_SECONDS,
        )
        return str(gone.consistency_token)


class Team(Right):
    team_id = ""

    async def give(self) -> None:
        world = self.world
        if not self.project_id:
            made = await world.teams.CreateTeam(
                tms.CreateTeamRequest(
                    account_id=world.account_id, name=f"Crew {uuid.uuid4().hex[:8]}"
                ),
                timeout=_SECONDS,
            )
            self.team_id = made.team.team_id
            self.project_id = await world.project()
            kind = GrantTargetType.GRANT_TARGET_TYPE_TEAM
            await world.grant(self.project_id, kind, self.team_id)
        await world.teams.AddTeamMember(
            tms.AddTeamMemberRequest(
                team_id=self.team_id, user_id=world.users["bob"], role=tm.TEAM_ROLE_MEMBER
            ),
            timeout=_SECONDS,
        )

    async def take(self) -> str:
        gone = await self.world.teams.RemoveTeamMember(
            tms.RemoveTeamMemberRequest(team_id=self.team_id, user_id=self.world.users["bob"]),
            timeout=_SECONDS,
        )
        return str(gone.consistency_token)


class Grant(Right):
    grant_id = ""

    async def give(self) -> None:
        if not self.project_id:
            self.project_id = await self.world.project()
        kind = GrantTargetType.GRANT_TARGET_TYPE_USER
        self.grant_id = await self.world.grant(self.project_id, kind, self.world.users["bob"])

    async def take(self) -> str:
        gone = await self.world.stub(GrantServiceStub, self.world.first).RevokeGrant(
            gs.RevokeGrantRequest(project_id=self.project_id, grant_id=self.grant_id),
            timeout=_SECONDS,
        )
        return str(gone.consistency_token)


class Enabled(Right):
    """Being enabled at all; ann asks about bob, for he is not let in any more."""

    asker = "ann"

    async def give(self) -> None:
        if self.project_id:
            await self._admin().EnableUser(
                ids.EnableUserRequest(user_id=self.world.users["bob"]), timeout=_SECONDS
            )
            await self.world.sign_in("bob")  # his tokens of before are refused for good
        else:
            self.project_id = await self.world.project(restricted=False)

    async def take(self) -> str:
        gone = await self._admin().DisableUser(
            ids.DisableUserRequest(user_id=self.world.users["bob"]), timeout=_SECONDS
        )
        return str(gone.consistency_token)

    def _admin(self) -> Any:
        return self.world.stub(IdentityServiceStub, self.world.writer, as_="admin")


KINDS: dict[str, type[Right]] = {
    "account member": AccountMember, "team member": Team, "grant": Grant, "user": Enabled,
}  # fmt: skip


class Asked:
    """What a replica said over time, in seconds since `since` (`time.monotonic`)."""

    def __init__(self, since: float) -> None:
        self.since = since
        self.last_yes = 0.0
        """When the last call began that said yes."""
        self.noes = 0
        self.failures = 0
        """Calls that failed, of any kind."""
        self.settled = False
        """It said nothing but no, for as long as was wanted."""

    async def question(self, right: Right, node: Node, timeout: float) -> None:
        """One more at minimum latency, of at most `timeout`."""
        begun = time.monotonic() - self.since
        try:
            async with asyncio.timeout(timeout):
                yes = await right.allowed(node, LATENCY)
        except (TimeoutError, grpc.aio.AioRpcError):
            self.failures += 1
            return
        if yes:
            self.last_yes = begun
        else:
            self.noes += 1


async def ask_for(
    right: Right,
    node: Node,
    since: float,
    seconds: float,
    *,
    timeout: float = _SECONDS,
    quiet: float | None = None,
) -> Asked:
    """Ask at minimum latency until `seconds` after `since`, or until it said no for
    `quiet` seconds."""
    asked, no_since = Asked(since), 0.0
    while (now := time.monotonic() - since) < seconds:
        before = asked.noes
        await asked.question(right, node, timeout)
        no_since = (no_since or now) if asked.noes > before else 0.0
        if quiet is not None and no_since and now - no_since >= quiet:
            asked.settled = True
            break
        await asyncio.sleep(0.01)
    return asked
