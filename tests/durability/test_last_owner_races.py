"""Last owners and last root administrators, raced; and rights that end meanwhile.

Every game has two people who together could leave nobody. They act at the same
moment, over two replicas where the store allows that; afterwards the stored rows
are judged. `WM_SOAK=1` plays 1,000 rounds a game instead of 14.

That the games can be lost is shown with `if_head` taken out of every commit.
"""

from __future__ import annotations

import asyncio
import os
import random
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Awaitable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import grpc.aio
import pytest
from workspace.common.v1.permission_pb2 import Permission
from workspace.identity.v1 import account_pb2 as ac
from workspace.identity.v1 import account_service_pb2 as acs
from workspace.identity.v1 import identity_service_pb2 as ids
from workspace.identity.v1 import team_pb2 as tm
from workspace.identity.v1 import team_service_pb2 as tms
from workspace.identity.v1 import user_pb2 as us
from workspace.identity.v1.account_service_pb2_grpc import AccountServiceStub
from workspace.identity.v1.identity_service_pb2_grpc import IdentityServiceStub
from workspace.identity.v1.team_service_pb2_grpc import TeamServiceStub
from workspace.project.v1 import document_service_pb2 as ds
from workspace.project.v1 import grant_pb2 as gr
from workspace.project.v1 import grant_service_pb2 as gs
from workspace.project.v1 import project_service_pb2 as ps
from workspace.project.v1.document_service_pb2_grpc import DocumentServiceStub
from workspace.project.v1.grant_service_pb2_grpc import GrantServiceStub
from workspace.project.v1.project_service_pb2_grpc import ProjectServiceStub

from services.model.families import FAMILIES
from services.model.indexes import Index
from services.records.port import Key
from services.records.store import RecordStore
from tests.conformance.records.harness import PostgresServer
from tests.harness import Workspace

SOAK = os.environ.get("WM_SOAK") == "1"
ROUNDS = 1000 if SOAK else 14
FRESH_EVERY = 25
ANN, BOB, CAT, DAN = (f"{name}@example.com" for name in ("ann", "bob", "cat", "dan"))
OWNER, EDITOR = ac.ACCOUNT_ROLE_OWNER, ac.ACCOUNT_ROLE_EDITOR
ACTIVE = ac.MEMBER_STATUS_ACTIVE
OWN, MANAGE, VIEW = (
    Permission.PERMISSION_OWNER, Permission.PERMISSION_MANAGE_ACCESS, Permission.PERMISSION_VIEW,
)
LOST_RACE = {
    grpc.StatusCode.FAILED_PRECONDITION, grpc.StatusCode.PERMISSION_DENIED,
    grpc.StatusCode.NOT_FOUND, grpc.StatusCode.ABORTED, grpc.StatusCode.ALREADY_EXISTS,
}


class Lost(AssertionError):
    """Nobody is left."""


class Table:
    """The people, at one or two replicas; `dan` is the platform admin."""

    def __init__(self, replicas: list[Workspace]) -> None:
        self.replicas = replicas
        self.ids: dict[str, str] = {}

    async def enter(self) -> None:
        for ws in self.replicas:
            for email in (ANN, BOB, CAT, DAN):
                self.ids[email] = await ws.sign_in(email)
        secret = (self.replicas[0].process.kernel.keys_dir / "local.secret").read_text().strip()
        await self.stub(IdentityServiceStub, DAN).BootstrapPlatformAdmin(
            ids.BootstrapPlatformAdminRequest(bootstrap_secret=secret)
        )

    @property
    def records(self) -> Any:
        return self.replicas[0].records

    def stub(self, kind: Any, email: str) -> Any:
        """Each call at any of the replicas."""
        return random.choice(self.replicas).stub(kind, as_=email)

    async def enabled(self, user_id: str) -> bool:
        pk = f"USER#{user_id}"
        found = await self.records.get(FAMILIES["user"], Key(pk, pk))
        return bool(found.message.status == us.USER_STATUS_ACTIVE)

    async def newcomer(self) -> str:
        """Somebody to be disabled: nobody is signed in and disabled twice a second."""
        email = f"new{len(self.ids)}@example.com"
        for ws in self.replicas:
            self.ids[email] = await ws.sign_in(email)
        return email

    def disable(self, email: str) -> Awaitable[Any]:
        return self.stub(IdentityServiceStub, DAN).DisableUser(  # type: ignore[no-any-return]
            ids.DisableUserRequest(user_id=self.ids[email])
        )


async def together(*calls: Awaitable[Any]) -> list[Any]:
    """The answers, None for who lost the race. Any other failure is a failure."""

    async def one(call: Awaitable[Any]) -> Any:
        await asyncio.sleep(random.random() * 0.002)
        try:
            return await call
        except grpc.aio.AioRpcError as error:
            if error.code() not in LOST_RACE:
                raise
            return None

    return list(await asyncio.gather(*map(one, calls)))


class Game(ABC):
    """One kind of race. `play` sets up if need be, races and judges."""

    def __init__(self, table: Table) -> None:
        self.table = table
        self.round = 0
        self.thing = ""
        self.first, self.second = ANN, BOB

    async def play(self) -> None:
        if self.round % FRESH_EVERY == 0:
            self.thing = ""
        self.round += 1
        await self.prepare()
        await self.race()

    @abstractmethod
    async def prepare(self) -> None:
        """Make what the round is about."""

    @abstractmethod
    async def race(self) -> None:
        """Both at once; afterwards the invariant must hold."""

    def id(self, email: str) -> str:
        return self.table.ids[email]


class ProjectOwners(Game):
    """Both own a project; each takes the other's grant, or gives up the own one."""

    async def prepare(self) -> None:
        if not self.thing:
            made = await self.table.stub(ProjectServiceStub, self.first).CreateProject(
                ps.CreateProjectRequest(name="Raced")
            )
            self.thing = made.project.project_id
        held = await self.grants()
        for email, other in ((self.first, BOB), (BOB, self.first)):
            if self.id(email) not in held:
                await self.table.stub(GrantServiceStub, other).CreateGrant(
                    gs.CreateGrantRequest(
                        project_id=self.thing, target_id=self.id(email), permissions=[OWN],
                        target_type=gr.GRANT_TARGET_TYPE_USER,
                    )
                )

    async def grants(self) -> dict[str, str]:
        """Owner grants in force, by user."""
        page = await self.table.records.query(
            FAMILIES["project_grant"], Index.BASE, f"PROJECT#{self.thing}",
            prefix="GRANT#", limit=500,
        )
        return {
            row.message.target_id: row.message.grant_id
            for row in page.records
            if row.message.status == gr.GRANT_STATUS_ACTIVE
            if list(row.message.permissions) == [OWN]
        }

    def revoke(self, by: str, grant_id: str) -> Awaitable[Any]:
        return self.table.stub(GrantServiceStub, by).RevokeGrant(  # type: ignore[no-any-return]
            gs.RevokeGrantRequest(project_id=self.thing, grant_id=grant_id)
        )

    async def race(self) -> None:
        held = await self.grants()
        ann, bob = held[self.id(ANN)], held[self.id(BOB)]
        if self.round % 2:
            ann, bob = bob, ann
        await together(self.revoke(ANN, ann), self.revoke(BOB, bob))
        if not await self.grants():
            raise Lost


class DisabledProjectOwner(ProjectOwners):
    """One is disabled while the other gives up his grant."""

    async def prepare(self) -> None:
        self.first = await self.table.newcomer()
        self.thing = ""
        await super().prepare()

    async def race(self) -> None:
        held = await self.grants()
        disabled, _ = await together(
            self.table.disable(self.first), self.revoke(BOB, held[self.id(BOB)])
        )
        owners = [user for user in await self.grants() if await self.table.enabled(user)]
        if not owners and self.thing not in [orphan.project_id for orphan in disabled.orphans]:
            raise Lost


class AccountOwners(Game):
    """Both own an account; each removes or demotes the other, or leaves."""

    async def prepare(self) -> None:
        if not self.thing:
            made = await self.table.stub(AccountServiceStub, self.first).CreateAccount(
                acs.CreateAccountRequest(name="Raced", type="client_org")
            )
            self.thing = made.account.account_id
        owners = await self.owners()
        for email, other in ((self.first, BOB), (BOB, self.first)):
            if self.id(email) not in owners:
                await self.make_owner(other, email)

    async def make_owner(self, by: str, email: str) -> None:
        stub = self.table.stub(AccountServiceStub, by)
        key = Key(f"ACCOUNT#{self.thing}", f"MEMBER#{self.id(email)}")
        row = await self.table.records.get(FAMILIES["account_member"], key)
        if row is None or row.message.status != ACTIVE:
            await stub.AddAccountMember(
                acs.AddAccountMemberRequest(
                    account_id=self.thing, user_id=self.id(email), role=OWNER
                )
            )
        else:
            await stub.UpdateAccountMember(self.role(email, OWNER))

    def role(self, email: str, role: Any) -> acs.UpdateAccountMemberRequest:
        request = acs.UpdateAccountMemberRequest(
            member=ac.AccountMember(account_id=self.thing, user_id=self.id(email), role=role)
        )
        request.update_mask.paths.append("role")
        return request

    async def owners(self) -> set[str]:
        page = await self.table.records.query(
            FAMILIES["account_member"], Index.BASE, f"ACCOUNT#{self.thing}",
            prefix="MEMBER#", limit=500,
        )
        return {
            row.message.user_id
            for row in page.records
            if row.message.role == OWNER and row.message.status == ACTIVE
        }

    def leave(self, by: str, whom: str) -> Awaitable[Any]:
        return self.table.stub(AccountServiceStub, by).RemoveAccountMember(  # type: ignore[no-any-return]
            acs.RemoveAccountMemberRequest(account_id=self.thing, user_id=self.id(whom))
        )

    def demote(self, by: str, whom: str) -> Awaitable[Any]:
        return self.table.stub(AccountServiceStub, by).UpdateAccountMember(  # type: ignore[no-any-return]
            self.role(whom, EDITOR)
        )

    async def race(self) -> None:
        one, other = [
            (lambda: self.leave(ANN, BOB), lambda: self.leave(BOB, ANN)),
            (lambda: self.leave(ANN, ANN), lambda: self.leave(BOB, BOB)),
            (lambda: self.demote(ANN, BOB), lambda: self.demote(BOB, ANN)),
            (lambda: self.demote(ANN, ANN), lambda: self.leave(BOB, BOB)),
        ][self.round % 4]
        await together(one(), other())
        if not await self.owners():
            raise Lost


class DisabledAccountOwner(AccountOwners):
    """One is disabled while the other leaves."""

    async def prepare(self) -> None:
        self.first = await self.table.newcomer()
        self.thing = ""
        await super().prepare()

    async def race(self) -> None:
        disabled, _ = await together(self.table.disable(self.first), self.leave(BOB, BOB))
        owners = [user for user in await self.owners() if await self.table.enabled(user)]
        if not owners and self.thing not in [orphan.account_id for orphan in disabled.orphans]:
            raise Lost


class RootAdmins(Game):
    """Ann hands a team of her workspace over to Bob, who leaves it."""

    async def prepare(self) -> None:
        if not self.thing:
            session = await self.table.stub(IdentityServiceStub, ANN).GetSession(
                ids.GetSessionRequest()
            )
            home = session.session.user.personal_workspace_id
            made = await self.table.stub(TeamServiceStub, ANN).CreateTeam(
                tms.CreateTeamRequest(name="Raced", workspace_id=home)
            )
            self.thing = made.team.team_id
        root, members = await self.team()
        if root == self.id(self.second):
            await self.hand_over(self.second, ANN)
        if self.id(self.second) not in members:
            await self.table.stub(TeamServiceStub, ANN).AddTeamMember(
                tms.AddTeamMemberRequest(
                    team_id=self.thing, user_id=self.id(self.second), role=tm.TEAM_ROLE_MEMBER
                )
            )

    async def team(self) -> tuple[str, set[str]]:
        """The root administrator, and who is active."""
        pk = f"TEAM#{self.thing}"
        team = await self.table.records.get(FAMILIES["team"], Key(pk, pk))
        page = await self.table.records.query(
            FAMILIES["team_member"], Index.BASE, pk, prefix="MEMBER#", limit=500
        )
        active = {r.message.user_id for r in page.records if r.message.status == ACTIVE}
        return team.message.root_admin_user_id, active

    def hand_over(self, by: str, to: str) -> Awaitable[Any]:
        return self.table.stub(TeamServiceStub, by).TransferRootAdmin(  # type: ignore[no-any-return]
            tms.TransferRootAdminRequest(team_id=self.thing, new_root_admin_user_id=self.id(to))
        )

    async def race(self) -> None:
        await together(
            self.hand_over(ANN, BOB),
            self.table.stub(TeamServiceStub, BOB).RemoveTeamMember(
                tms.RemoveTeamMemberRequest(team_id=self.thing, user_id=self.id(BOB))
            ),
        )
        root, members = await self.team()
        if root not in members:
            raise Lost


class DisabledRootAdmin(RootAdmins):
    """Ann hands over to somebody who is disabled."""

    async def prepare(self) -> None:
        self.second = await self.table.newcomer()
        if self.thing and (await self.team())[0] != self.id(ANN):
            self.thing = ""
        await super().prepare()

    async def race(self) -> None:
        _, disabled = await together(
            self.hand_over(ANN, self.second), self.table.disable(self.second)
        )
        root, _ = await self.team()
        listed = [orphan.team_id for orphan in disabled.orphans]
        if not await self.table.enabled(root) and self.thing not in listed:
            raise Lost


class RevokeAgainstGrant(Game):
    """Bob gives Cat something while his right to is revoked: he was first or refused."""

    async def prepare(self) -> None:
        made = await self.table.stub(ProjectServiceStub, ANN).CreateProject(
            ps.CreateProjectRequest(name="Raced")
        )
        self.thing = made.project.project_id
        self.right = (await self.give(ANN, BOB, MANAGE)).grant.grant_id

    def give(self, by: str, to: str, permission: Any) -> Awaitable[Any]:
        return self.table.stub(GrantServiceStub, by).CreateGrant(  # type: ignore[no-any-return]
            gs.CreateGrantRequest(
                project_id=self.thing, target_id=self.id(to), permissions=[permission],
                target_type=gr.GRANT_TARGET_TYPE_USER,
            )
        )

    async def race(self) -> None:
        given, revoked = await together(
            self.give(BOB, CAT, VIEW),
            self.table.stub(GrantServiceStub, ANN).RevokeGrant(
                gs.RevokeGrantRequest(project_id=self.thing, grant_id=self.right)
            ),
        )
        assert revoked is not None
        page = await self.table.records.query(
            FAMILIES["activity_event"], Index.PROJECT, f"PROJECT#{self.thing}",
            prefix="EVENT#", limit=500,
        )
        at = {row.message.type: row.message.partition_sequence for row in page.records}
        if given is not None and at["grant.created"] > at["grant.revoked"]:
            raise Lost


GAMES = [
    ProjectOwners, DisabledProjectOwner, AccountOwners, DisabledAccountOwner, RootAdmins,
    DisabledRootAdmin, RevokeAgainstGrant,
]


@pytest.fixture(scope="module")
def postgres() -> Iterator[PostgresServer]:
    server = PostgresServer()
    yield server
    server.stop()


@asynccontextmanager
async def seated(
    driver: str, folder: Path, postgres: PostgresServer | None
) -> AsyncIterator[Table]:
    """SQLite has one process; PostgreSQL two replicas with the same keys."""
    if driver == "sqlite":
        async with Workspace.open(folder) as ws:
            table = Table([ws])
            await table.enter()
            yield table
        return
    assert postgres is not None
    settings = {"records": "postgresql", "records_dsn": postgres.database()}
    async with Workspace.open(folder, **settings) as one, Workspace.open(folder, **settings) as two:
        table = Table([one, two])
        await table.enter()
        yield table


@pytest.mark.timeout(3600 if SOAK else 120)
@pytest.mark.parametrize("kind", GAMES, ids=lambda kind: kind.__name__)
@pytest.mark.parametrize("driver", ["sqlite", "postgresql"])
@pytest.mark.case("G08")
async def test_never_zero(
    tmp_path: Path, driver: str, kind: type[Game], request: pytest.FixtureRequest
) -> None:
    server = request.getfixturevalue("postgres") if driver == "postgresql" else None
    async with seated(driver, tmp_path, server) as table:
        game = kind(table)
        for _ in range(ROUNDS):
            await game.play()


@pytest.mark.parametrize("kind", GAMES, ids=lambda kind: kind.__name__)
async def test_without_the_condition_the_game_is_lost(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: type[Game]
) -> None:
    real = RecordStore.commit

    async def unconditional(self: RecordStore, pk: str, writes: Any, **more: Any) -> Any:
        await asyncio.sleep(random.random() * 0.01)  # room for the other one
        return await real(self, pk, writes, **(more | {"if_head": None}))

    async with seated("sqlite", tmp_path, None) as table:
        with pytest.raises(Lost):
            await _played_without(unconditional, kind(table), monkeypatch)


DISABLED_GAMES = [DisabledProjectOwner, DisabledAccountOwner, DisabledRootAdmin]


@pytest.mark.parametrize("kind", DISABLED_GAMES, ids=lambda kind: kind.__name__)
async def test_without_the_touch_the_game_is_lost(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: type[Game]
) -> None:
    """A disabled user lies in another partition: the condition alone is no help."""
    real = RecordStore.commit

    async def slow(self: RecordStore, pk: str, writes: Any, **more: Any) -> Any:
        if not pk.startswith("USER#"):
            await asyncio.sleep(0.05)  # decided, not yet committed
        return await real(self, pk, writes, **more)

    async def untouched(_: RecordStore, __: str) -> None:
        return

    monkeypatch.setattr(RecordStore, "touch", untouched)
    async with seated("sqlite", tmp_path, None) as table:
        with pytest.raises(Lost):
            await _played_without(slow, kind(table), monkeypatch)


async def _played_without(commit: Any, game: Game, monkeypatch: pytest.MonkeyPatch) -> None:
    for _ in range(200):
        game.round += 1
        await game.prepare()
        with monkeypatch.context() as patched:
            patched.setattr(RecordStore, "commit", commit)
            await game.race()


async def test_a_project_that_moves_while_documents_are_made(tmp_path: Path) -> None:
    """Every document ends up with the home of its project, whoever was first."""
    async with seated("sqlite", tmp_path, None) as table:
        ann = table.stub(AccountServiceStub, ANN)
        homes = [
            (await ann.CreateAccount(acs.CreateAccountRequest(name=name, type="client_org")))
            .account.account_id
            for name in ("One", "Two")
        ]
        made = await table.stub(ProjectServiceStub, ANN).CreateProject(
            ps.CreateProjectRequest(name="Moving", account_id=homes[0])
        )
        project_id = made.project.project_id
        for number in range(ROUNDS):
            home = homes[(number + 1) % 2]
            moved, *documents = await together(
                table.stub(ProjectServiceStub, ANN).AssignProject(
                    ps.AssignProjectRequest(project_id=project_id, account_id=home)
                ),
                *(
                    table.stub(DocumentServiceStub, ANN).CreateDocument(
                        ds.CreateDocumentRequest(project_id=project_id, name=f"{number}-{n}.txt")
                    )
                    for n in range(3)
                ),
            )
            assert moved is not None
            assert all(document is not None for document in documents)
            await _copies_follow(table, project_id)
            await _all_at_home(table, project_id, home)


async def _copies_follow(table: Table, project_id: str) -> None:
    modules = table.replicas[0].process.modules
    handlers = {kind: handler for module in modules for kind, handler in module.due.items()}
    await handlers["project.copies"](project_id)


async def _all_at_home(table: Table, project_id: str, home: str) -> None:
    after: str | None = None
    while True:
        page = await table.records.query(
            FAMILIES["document"], Index.PROJECT, f"PROJECT#{project_id}",
            prefix="ARTIFACT#", limit=500, after=after,
        )
        assert {row.message.account_id for row in page.records} <= {home}
        after = page.next
        if after is None:
            return
