"""Cached permission decisions: as fresh as was asked for, and never stale here.

Each race is first shown without its protection, so that the test can fail.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from pathlib import Path
from typing import Any

import grpc
import grpc.aio
import pytest
from workspace.common.v1.consistency_pb2 import Consistency
from workspace.common.v1.permission_pb2 import Permission
from workspace.identity.v1 import account_pb2 as ac
from workspace.identity.v1 import account_service_pb2 as acs
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
from workspace.project.v1.project_pb2 import Project
from workspace.project.v1.project_service_pb2_grpc import ProjectServiceStub

from project_svc.access.facts import FactsReader, project_views
from project_svc.access.freshness import MembershipFollower, ViewFollower
from project_svc.access.gate import Access
from project_svc.access.membership_cache import MembershipCache
from services.model.permissions import VIEW
from services.rpc.consistency import AS_OF_NOW, MINIMIZE_LATENCY, STRONG, Demand
from tests.harness import Workspace
from tests.integration.project.world import refused

ANN, BOB, EVE = "ann@example.com", "bob@example.com", "eve@example.com"
TO_USER = GrantTargetType.GRANT_TARGET_TYPE_USER
TO_TEAM = GrantTargetType.GRANT_TARGET_TYPE_TEAM


class Scene:
    """ann's account with a team of bob's, and a project that the team may view."""

    def __init__(self, ws: Workspace) -> None:
        self.ws = ws
        self.accounts = ws.stub(AccountServiceStub, as_=ANN)
        self.teams = ws.stub(TeamServiceStub, as_=ANN)
        self.projects = ws.stub(ProjectServiceStub, as_=ANN)
        self.grants = ws.stub(GrantServiceStub, as_=ANN)

    @classmethod
    async def make(cls, ws: Workspace) -> Scene:
        people = [await ws.sign_in(who) for who in (ANN, BOB, EVE)]
        scene = cls(ws)
        scene.ann, scene.bob, scene.eve = people
        made = await scene.accounts.CreateAccount(
            acs.CreateAccountRequest(name="One", type="client_org")
        )
        scene.account_id = made.account.account_id
        for user_id in (scene.bob, scene.eve):
            await scene.add_to_account(user_id)
        team = await scene.teams.CreateTeam(
            tms.CreateTeamRequest(account_id=scene.account_id, name="Crew")
        )
        scene.team_id = team.team.team_id
        await scene.add_to_team(scene.bob)
        scene.project_id = await scene.project()
        await scene.grant(scene.project_id, TO_TEAM, scene.team_id)
        return scene

    async def add_to_account(self, user_id: str) -> Any:
        return await self.accounts.AddAccountMember(
            acs.AddAccountMemberRequest(
                account_id=self.account_id, user_id=user_id, role=ac.ACCOUNT_ROLE_VIEWER
            )
        )

    async def add_to_team(self, user_id: str) -> Any:
        return await self.teams.AddTeamMember(
            tms.AddTeamMemberRequest(
                team_id=self.team_id, user_id=user_id, role=tm.TEAM_ROLE_MEMBER
            )
        )

    async def remove_from_team(self, user_id: str) -> Any:
        return await self.teams.RemoveTeamMember(
            tms.RemoveTeamMemberRequest(team_id=self.team_id, user_id=user_id)
        )

    async def project(self, *, restricted: bool = True) -> str:
        made = await self.projects.CreateProject(
            ps.CreateProjectRequest(
                name="Plan", account_id=self.account_id, restricted=restricted
            )
        )
        return str(made.project.project_id)

    async def grant(self, project_id: str, kind: Any, target_id: str) -> str:
        made = await self.grants.CreateGrant(
            gs.CreateGrantRequest(
                project_id=project_id, target_type=kind, target_id=target_id,
                permissions=[Permission.PERMISSION_VIEW],
            )
        )
        return str(made.grant.grant_id)

    async def allowed(self, who: str = BOB, project_id: str = "", **level: Any) -> bool:
        answer = await self.ws.stub(PermissionServiceStub, as_=who).CheckPermission(
            pb.CheckPermissionRequest(
                project_id=project_id or self.project_id,
                permission=Permission.PERMISSION_VIEW,
                consistency=Consistency(**level),
            )
        )
        return bool(answer.allowed)


@pytest.fixture
async def scene(tmp_path: Path) -> AsyncIterator[Scene]:
    async with Workspace.open(tmp_path) as ws:
        yield await Scene.make(ws)


class Delayed:
    """Identity, whose answers come late: `read` is set when the read is done,
    and the answer is given when `go` is."""

    def __init__(self, ws: Workspace) -> None:
        self._stub = ws.service_stub(IdentityServiceStub, service="project_svc")
        self.read, self.go = asyncio.Event(), asyncio.Event()
        self.calls = 0

    async def BatchGetMemberships(self, request: Any) -> Any:  # noqa: N802
        self.calls += 1
        answer = await self._stub.BatchGetMemberships(request)
        self.read.set()
        await self.go.wait()
        return answer

    def WatchMemberships(self, request: Any) -> Any:  # noqa: N802
        return self._stub.WatchMemberships(request)


def gate(
    scene: Scene, identity: Any, *, exact: bool = True, protected: bool = True
) -> tuple[Access, MembershipCache]:
    """A gate with caches of its own, told of commits when it is `exact`."""
    kernel = scene.ws.process.kernel
    cache = MembershipCache(now=kernel.now, exact=exact, drop_overtaken=protected)
    views = project_views(now=kernel.now, exact=exact, drop_overtaken=protected)
    if exact:
        kernel.records.on_commit(cache.committed)
        kernel.records.on_commit(lambda pk, _: views.invalidate(pk))
    facts = FactsReader(
        records=kernel.records, identity=identity, memberships=cache, views=views, now=kernel.now
    )
    return Access(facts=facts, now=kernel.now), cache


class TestOneProcess:
    async def test_what_is_taken_away_is_gone_with_the_next_check(self, scene: Scene) -> None:
        for _ in range(5):
            assert await scene.allowed()
            await scene.remove_from_team(scene.bob)
            assert not await scene.allowed()
            await scene.add_to_team(scene.bob)

    async def test_every_rule_of_the_decision_shows_at_once(self, scene: Scene) -> None:
        async def account(status: ac.AccountStatus.ValueType) -> None:
            await scene.accounts.SetAccountStatus(
                acs.SetAccountStatusRequest(account_id=scene.account_id, status=status)
            )

        open_id = await scene.project(restricted=False)
        assert await scene.allowed(EVE, open_id)
        await scene.projects.AssignProject(
            ps.AssignProjectRequest(
                project_id=open_id, account_id=scene.account_id, restricted=True
            )
        )
        assert not await scene.allowed(EVE, open_id)
        grant_id = await scene.grant(open_id, TO_USER, scene.eve)
        assert await scene.allowed(EVE, open_id)
        await account(ac.ACCOUNT_STATUS_SUSPENDED)
        assert not await scene.allowed(EVE, open_id)
        await account(ac.ACCOUNT_STATUS_ACTIVE)
        assert await scene.allowed(EVE, open_id)
        await scene.grants.RevokeGrant(
            gs.RevokeGrantRequest(project_id=open_id, grant_id=grant_id)
        )
        assert not await scene.allowed(EVE, open_id)

    async def test_a_warm_check_asks_nobody(self, scene: Scene) -> None:
        identity = Delayed(scene.ws)
        identity.go.set()
        access, cache = gate(scene, identity)
        for _ in range(3):
            assert await access.check(scene.bob, scene.project_id, VIEW, MINIMIZE_LATENCY)
        assert identity.calls == 1
        assert await access.check(scene.bob, scene.project_id, VIEW, STRONG)
        assert identity.calls == 2
        assert len(cache.facts) == 3  # bob, the account, the team

    @pytest.mark.parametrize("protected", [False, True])
    async def test_a_read_that_a_commit_overtook_is_not_kept(
        self, scene: Scene, protected: bool
    ) -> None:
        """The answer of identity is on its way while bob leaves the team. Without
        the protection it is kept, and bob may look on."""
        identity = Delayed(scene.ws)
        access, _ = gate(scene, identity, protected=protected)
        checking = asyncio.ensure_future(access.check(scene.bob, scene.project_id, VIEW))
        await identity.read.wait()
        await scene.remove_from_team(scene.bob)
        identity.go.set()
        assert await checking, "it was so when it was asked"
        stale = await access.check(scene.bob, scene.project_id, VIEW)
        assert stale is (not protected)

    @pytest.mark.parametrize("protected", [False, True])
    async def test_a_project_that_changed_while_it_was_read_is_not_kept(
        self, scene: Scene, protected: bool, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        identity = scene.ws.service_stub(IdentityServiceStub, service="project_svc")
        access, _ = gate(scene, identity, protected=protected)
        grant_id = await scene.grant(scene.project_id, TO_USER, scene.eve)
        head, revoked = scene.ws.records.head, []

        async def late(pk: str) -> Any:
            found = await head(pk)
            if len(revoked) == 1:  # the second look: nothing has changed yet
                revoked.append(True)
                monkeypatch.undo()
                await scene.grants.RevokeGrant(
                    gs.RevokeGrantRequest(project_id=scene.project_id, grant_id=grant_id)
                )
            elif pk.startswith("PROJECT#"):
                revoked.append(True)
            return found

        monkeypatch.setattr(scene.ws.records, "head", late)
        assert await access.check(scene.eve, scene.project_id, VIEW)
        assert len(revoked) == 2
        stale = await access.check(scene.eve, scene.project_id, VIEW)
        assert stale is (not protected)

    @pytest.mark.parametrize("protected", [False, True])
    async def test_a_cancelled_caller_does_not_keep_a_commit_secret(
        self, scene: Scene, protected: bool, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """A deadline passes while the commit is being made durable: it happens
        all the same, and the caches must hear of it."""
        # What others would be told of it comes too late, as it may.
        monkeypatch.setattr(
            MembershipFollower, "_take", lambda self, _: self._facts.delivered(time.time())
        )
        assert await scene.allowed()
        records = scene.ws.records
        driver, commit = records.driver, records.driver.commit
        began, durable = asyncio.Event(), asyncio.Event()

        async def late(pk: str, puts: Sequence[Any]) -> list[str]:
            await asyncio.sleep(0.05)
            tokens = list(await commit(pk, puts))
            asyncio.get_running_loop().call_later(0.5, durable.set)
            return tokens

        async def slow(pk: str, puts: Sequence[Any]) -> list[str]:
            if not pk.startswith("TEAM#"):  # of something else that is going on
                return list(await commit(pk, puts))
            began.set()
            return await asyncio.shield(asyncio.ensure_future(late(pk, puts)))

        driver.commit = slow
        if not protected:
            records._announced = records._send_and_announce
        leaving = asyncio.ensure_future(scene.remove_from_team(scene.bob))
        await began.wait()
        del driver.commit
        leaving.cancel()
        await asyncio.wait([leaving])
        await durable.wait()
        assert await scene.allowed() is (not protected)
        assert not await scene.allowed(fully_consistent=True)
        assert not await scene.allowed(), "a strong read is newer than what was kept"

    async def test_nothing_that_failed_is_remembered(self, scene: Scene) -> None:
        class Failing(Delayed):
            failing = True

            async def BatchGetMemberships(self, request: Any) -> Any:  # noqa: N802
                answer = await self._stub.BatchGetMemberships(request)
                if self.failing:
                    answer.results[0].error.code = 14
                return answer

        identity = Failing(scene.ws)
        access, _ = gate(scene, identity)
        with pytest.raises(Exception, match="cannot be read now"):
            await access.check(scene.bob, scene.project_id, VIEW)
        identity.failing = False
        assert await access.check(scene.bob, scene.project_id, VIEW)

    async def test_racing_checks_never_see_what_was_taken_before_they_began(
        self, scene: Scene
    ) -> None:
        wrong: list[int] = []
        member, running = True, True

        async def look() -> None:
            while running:
                was, changes = member, len(log)
                answer = await scene.allowed()
                # While a change is under way (odd) both answers are right.
                if len(log) == changes and changes % 2 == 0 and answer is not was:
                    wrong.append(changes)

        log: list[str] = []
        looking = [asyncio.ensure_future(look()) for _ in range(4)]
        for _ in range(10):
            log.append("leaving")
            await scene.remove_from_team(scene.bob)
            member = False
            log.append("left")
            await asyncio.sleep(0.005)
            log.append("joining")
            await scene.add_to_team(scene.bob)
            member = True
            log.append("joined")
            await asyncio.sleep(0.005)
        running = False
        await asyncio.gather(*looking)
        assert not wrong


class TestLevels:
    async def test_a_token_of_a_write_is_met(self, scene: Scene) -> None:
        for _ in range(3):
            assert await scene.allowed()
            gone = await scene.remove_from_team(scene.bob)
            level = {"at_least_as_fresh": {"tokens": [gone.consistency_token]}}
            assert not await scene.allowed(**level)
            back = await scene.add_to_team(scene.bob)
            level = {"at_least_as_fresh": {"tokens": [back.consistency_token]}}
            assert await scene.allowed(**level)

    async def test_a_token_of_another_instance_is_refused(self, scene: Scene) -> None:
        no = await refused(scene.allowed(at_least_as_fresh={"tokens": ["bm90IG91cnM"]}))
        assert (no.code.name, no.reason) == ("FAILED_PRECONDITION", "FOREIGN_CONSISTENCY_TOKEN")

    async def test_a_fact_read_too_soon_after_the_token_is_read_again(
        self, scene: Scene
    ) -> None:
        identity = Delayed(scene.ws)
        identity.go.set()
        access, _ = gate(scene, identity)
        kernel = scene.ws.process.kernel
        await access.check(scene.bob, scene.project_id, VIEW)

        def as_of(seconds: float) -> Demand:
            token = kernel.consistency.issue("PROJECT#x", 1, int((time.time() + seconds) * 1000))
            level = Consistency(at_least_as_fresh={"tokens": [token]})
            return kernel.consistency.demand(level)

        calls = identity.calls
        assert await access.check(scene.bob, scene.project_id, VIEW, as_of(-30))
        assert identity.calls == calls
        assert await access.check(scene.bob, scene.project_id, VIEW, as_of(0))
        assert identity.calls == calls + 1


class TestWatched:
    """A cache as in a process that shares its store with others: it hears of
    commits through the streams alone."""

    async def test_a_change_arrives_and_ends_the_fact(self, scene: Scene) -> None:
        identity = Delayed(scene.ws)
        identity.go.set()
        access, cache = gate(scene, identity, exact=False)
        kernel = scene.ws.process.kernel
        await access.check(scene.bob, scene.project_id, VIEW, MINIMIZE_LATENCY)
        follower = MembershipFollower(cache=cache, identity=identity, retry=0.01)
        views = ViewFollower(views=access.facts._views, feed=kernel.feed, retry=0.01)
        running = [asyncio.ensure_future(each.run()) for each in (follower, views)]
        try:
            await until(lambda: cache.facts.allows(MINIMIZE_LATENCY))
            assert len(cache.facts) == 0, "what was read before the stream began is not used"
            await until(lambda: access.facts._views.allows(MINIMIZE_LATENCY))
            assert await access.check(scene.bob, scene.project_id, VIEW, MINIMIZE_LATENCY)
            calls = identity.calls
            assert await access.check(scene.bob, scene.project_id, VIEW, MINIMIZE_LATENCY)
            assert identity.calls == calls
            assert await access.check(scene.bob, scene.project_id, VIEW, AS_OF_NOW)
            assert identity.calls == calls + 1, "a gate takes nothing from a watched cache"
            gone = await scene.remove_from_team(scene.bob)
            asked = Consistency(at_least_as_fresh={"tokens": [gone.consistency_token]})
            fresh = kernel.consistency.demand(asked)
            assert not await access.check(scene.bob, scene.project_id, VIEW, fresh)
            await eventually(
                lambda: access.check(scene.bob, scene.project_id, VIEW, MINIMIZE_LATENCY), False
            )
            grant_id = await scene.grant(scene.project_id, TO_USER, scene.bob)
            await eventually(
                lambda: access.check(scene.bob, scene.project_id, VIEW, MINIMIZE_LATENCY), True
            )
            await scene.grants.RevokeGrant(
                gs.RevokeGrantRequest(project_id=scene.project_id, grant_id=grant_id)
            )
            await eventually(
                lambda: access.check(scene.bob, scene.project_id, VIEW, MINIMIZE_LATENCY), False
            )
        finally:
            await stopped(running)

    async def test_a_broken_stream_goes_on_from_its_token(self, scene: Scene) -> None:
        """bob leaves while nobody listens; the resumed stream tells it."""
        identity = Delayed(scene.ws)
        identity.go.set()
        access, cache = gate(scene, identity, exact=False)
        follower = MembershipFollower(cache=cache, identity=identity, retry=0.01)
        running = [asyncio.ensure_future(follower.run())]
        await until(lambda: cache.facts.allows(MINIMIZE_LATENCY))
        await access.check(scene.bob, scene.project_id, VIEW, MINIMIZE_LATENCY)
        await stopped(running)
        await scene.remove_from_team(scene.bob)
        known = await access.facts.user(scene.bob, (), [scene.team_id], MINIMIZE_LATENCY)
        assert known.teams[scene.team_id].member_status, "nobody told the cache yet"
        held = len(cache.facts)
        running = [asyncio.ensure_future(follower.run())]
        try:
            await until(lambda: len(cache.facts) < held)
            assert cache.facts.get((scene.bob, ""), MINIMIZE_LATENCY) is not None
            key = (scene.bob, f"TEAM#{scene.team_id}")
            assert cache.facts.get(key, MINIMIZE_LATENCY) is None
        finally:
            await stopped(running)

    async def test_a_lost_cursor_clears_the_cache(self, scene: Scene) -> None:
        identity = Delayed(scene.ws)
        identity.go.set()
        access, cache = gate(scene, identity, exact=False)
        follower = MembershipFollower(cache=cache, identity=identity, retry=0.01)
        follower._token = "AQ"  # of no store that exists
        await access.check(scene.bob, scene.project_id, VIEW, MINIMIZE_LATENCY)
        assert len(cache.facts)
        running = [asyncio.ensure_future(follower.run())]
        try:
            await until(lambda: cache.facts.allows(MINIMIZE_LATENCY))
            assert len(cache.facts) == 0
        finally:
            await stopped(running)


async def test_on_and_off_answer_the_same(tmp_path: Path) -> None:
    """Metamorphic: the same history in two workspaces, one without caches; after
    each step every question is asked at every level."""
    async with (
        Workspace.open(tmp_path / "on") as on,
        Workspace.open(tmp_path / "off", permission_cache=False) as off,
    ):
        assert not off.process.kernel.settings.permission_cache
        answers = []
        for ws in (on, off):
            answers.append(await _history(await Scene.make(ws), random.Random(7)))
        assert answers[0] == answers[1]
        assert {True, False} <= {answer for step in answers[0] for answer in step}


async def _history(scene: Scene, chance: random.Random) -> list[list[bool]]:
    open_id = await scene.project(restricted=False)
    answers = []
    for _ in range(25):
        step = chance.choice([_team, _account, _grant, _status, _restrict])
        await step(scene, chance, open_id)
        answers.append(await _all_answers(scene, [scene.project_id, open_id, "p_absent"]))
    return answers


async def _team(scene: Scene, chance: random.Random, _: str) -> None:
    change = chance.choice([scene.add_to_team, scene.remove_from_team])
    await _tried(change(chance.choice([scene.bob, scene.eve])))


async def _account(scene: Scene, chance: random.Random, _: str) -> None:
    user_id = chance.choice([scene.bob, scene.eve])
    if chance.random() < 0.5:
        await _tried(scene.add_to_account(user_id))
        return
    await _tried(
        scene.accounts.RemoveAccountMember(
            acs.RemoveAccountMemberRequest(account_id=scene.account_id, user_id=user_id)
        )
    )


async def _grant(scene: Scene, chance: random.Random, open_id: str) -> None:
    project_id = chance.choice([scene.project_id, open_id])
    user_id = chance.choice([scene.bob, scene.eve])
    listed = await _tried(scene.grants.ListGrants(gs.ListGrantsRequest(project_id=project_id)))
    mine = [g for g in (listed.grants if listed else ()) if g.target_id == user_id]
    if not mine:
        await _tried(scene.grant(project_id, TO_USER, user_id))
        return
    await _tried(
        scene.grants.RevokeGrant(
            gs.RevokeGrantRequest(project_id=project_id, grant_id=mine[0].grant_id)
        )
    )


async def _status(scene: Scene, chance: random.Random, _: str) -> None:
    statuses = [
        ac.ACCOUNT_STATUS_ACTIVE, ac.ACCOUNT_STATUS_ACTIVE, ac.ACCOUNT_STATUS_SUSPENDED,
    ]  # fmt: skip
    await _tried(
        scene.accounts.SetAccountStatus(
            acs.SetAccountStatusRequest(
                account_id=scene.account_id, status=chance.choice(statuses)
            )
        )
    )


async def _restrict(scene: Scene, chance: random.Random, open_id: str) -> None:
    await _tried(
        scene.projects.AssignProject(
            ps.AssignProjectRequest(
                project_id=open_id, account_id=scene.account_id,
                restricted=chance.random() < 0.5,
            )
        )
    )


async def _tried(step: Awaitable[Any]) -> Any:
    """A step that the rules may refuse, the same on both sides."""
    try:
        return await step
    except grpc.aio.AioRpcError as error:
        if error.code() in (grpc.StatusCode.INTERNAL, grpc.StatusCode.UNKNOWN):
            raise
        return None


async def _all_answers(scene: Scene, project_ids: Sequence[str]) -> list[bool]:
    found: list[bool] = []
    for who in (ANN, BOB, EVE):
        asked = [
            [await scene.allowed(who, each, **{level: True}) for each in project_ids]
            for level in ("minimize_latency", "fully_consistent")
        ]
        assert asked[0] == asked[1]
        batch = await scene.ws.stub(PermissionServiceStub, as_=who).BatchCheckPermissions(
            pb.BatchCheckPermissionsRequest(
                items=[
                    pb.CheckItem(project_id=each, permission=Permission.PERMISSION_VIEW)
                    for each in project_ids
                ]
            )
        )
        assert [result.result.allowed for result in batch.results] == asked[0]
        found += asked[0]
    return found


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(10):
        while not condition():  # noqa: ASYNC110 - there is no event to wait for
            await asyncio.sleep(0.005)


async def eventually(ask: Callable[[], Awaitable[bool]], wanted: bool) -> None:
    async with asyncio.timeout(10):
        while await ask() is not wanted:  # noqa: ASYNC110 - there is no event to wait for
            await asyncio.sleep(0.005)


async def stopped(tasks: Sequence[asyncio.Future[None]]) -> None:
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


async def test_what_is_shown_is_never_older_than_the_last_change(scene: Scene) -> None:
    for number in range(3):
        wanted = ps.GetProjectRequest(project_id=scene.project_id)
        assert (await scene.projects.GetProject(wanted)).project.project_id == scene.project_id
        named = Project(project_id=scene.project_id, name=f"New {number}")
        await scene.projects.UpdateProject(ps.UpdateProjectRequest(project=named))
        assert (await scene.projects.GetProject(wanted)).project.name == f"New {number}"
