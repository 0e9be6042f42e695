"""Two processes on one PostgreSQL and one data folder, each with its own caches.

What is decided at one holds at the other, what only one may do is done once, and
what both do is harmless. (Last owners: tests/durability/test_last_owner_races.py.)
"""

from __future__ import annotations

import asyncio
import json
import random
import secrets
import time
import uuid
from collections import defaultdict
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc.aio
import pytest
from prometheus_client import CollectorRegistry
from workspace.identity.v1 import identity_service_pb2 as ids
from workspace.identity.v1.identity_service_pb2_grpc import IdentityServiceStub
from workspace.project.v1 import document_service_pb2 as ds
from workspace.project.v1 import grant_service_pb2 as gs
from workspace.project.v1 import history_service_pb2 as hs
from workspace.project.v1 import project_service_pb2 as ps
from workspace.project.v1.document_service_pb2_grpc import DocumentServiceStub
from workspace.project.v1.history_service_pb2_grpc import HistoryServiceStub
from workspace.project.v1.project_service_pb2_grpc import ProjectServiceStub
from workspace.storage.v1 import storage_service_pb2 as sp

from services.events.outbox import OutboxEvent
from services.events.relay import Relay, RelayMetrics
from services.model.errors import WorkspaceError
from services.records.expiry import ExpirySweep
from services.records.lease import Lease
from services.records.port import ABSENT, Key, Put
from storage_svc.usage import Ledger, Quota
from tests.chosen_records import postgres_of
from tests.harness import Workspace
from tests.integration.identity.inviting import Scene as Inviting
from tests.integration.project.test_freshness import ANN, BOB, EVE, TO_USER, Scene, eventually
from tests.integration.project.world import refused
from tests.integration.storage.people import Desk, get

CAT, DAN = "cat@example.com", "dan@example.com"


@dataclass
class Pair:
    """The processes; people are signed in at both."""

    one: Workspace
    two: Workspace

    @property
    def both(self) -> tuple[Workspace, Workspace]:
        return self.one, self.two

    def kernel(self, index: int) -> Any:
        return self.both[index].process.kernel

    def either(self, stub: Any, as_: str) -> Any:
        """A stub at one of them by chance."""
        return random.choice(self.both).stub(stub, as_=as_)


@pytest.fixture
async def pair(tmp_path: Path) -> AsyncIterator[Pair]:
    settings = postgres_of(tmp_path)
    async with (
        Workspace.open(tmp_path, **settings) as one,
        Workspace.open(tmp_path, **settings) as two,
    ):
        for ws in (one, two):
            for who in (ANN, BOB, EVE, CAT, DAN):
                await ws.sign_in(who)
        yield Pair(one, two)


@pytest.fixture
async def scenes(pair: Pair) -> tuple[Scene, Scene]:
    """One scene, seen through both."""
    here, there = await Scene.make(pair.one), Scene(pair.two)
    for name in ("ann", "bob", "eve", "account_id", "team_id", "project_id"):
        setattr(there, name, getattr(here, name))
    return here, there


class TestFreshness:
    """Without the marks of freshness B may be behind for a moment (5 s), never with them."""

    async def test_a_revoked_grant(self, scenes: tuple[Scene, Scene]) -> None:
        here, there = scenes
        for _ in range(5):
            grant_id = await here.grant(here.project_id, TO_USER, here.eve)
            assert await there.allowed(EVE, fully_consistent=True)
            await eventually(lambda: there.allowed(EVE), True)
            gone = await here.grants.RevokeGrant(
                gs.RevokeGrantRequest(project_id=here.project_id, grant_id=grant_id)
            )
            fresh = {"at_least_as_fresh": {"tokens": [gone.consistency_token]}}
            assert not await there.allowed(EVE, **fresh)
            assert not await there.allowed(EVE, fully_consistent=True)
            await eventually(lambda: there.allowed(EVE, minimize_latency=True), False)

    async def test_only_the_fully_consistent_look_is_needed_at_once(
        self, scenes: tuple[Scene, Scene]
    ) -> None:
        here, there = scenes
        await eventually(there.allowed, True)
        await here.remove_from_team(here.bob)
        assert not await there.allowed(fully_consistent=True)
        assert not await there.allowed(), "what was read fresh is kept for the next look"

    async def test_within_five_seconds_without_a_token(self, scenes: tuple[Scene, Scene]) -> None:
        """No check that begins later than that may still say yes."""
        here, there = scenes
        await eventually(there.allowed, True)
        await here.remove_from_team(here.bob)
        await _ends(lambda: there.allowed(minimize_latency=True), 5)

    async def test_a_disabled_user_and_ended_sessions(self, pair: Pair) -> None:
        """Who may come in is asked with every call, at both."""
        await _bootstrap(pair)
        platform = pair.one.stub(IdentityServiceStub, as_=DAN)
        there = pair.two.stub(ProjectServiceStub, as_=BOB)
        await there.ListProjects(ps.ListProjectsRequest())
        bob = await pair.one.sign_in(BOB)
        await platform.DisableUser(ids.DisableUserRequest(user_id=bob))
        assert (await refused(there.ListProjects(ps.ListProjectsRequest()))).code in {
            grpc.StatusCode.PERMISSION_DENIED, grpc.StatusCode.UNAUTHENTICATED,
        }


class TestDecisions:
    async def test_fifty_reservations_fill_a_quota_exactly(self, pair: Pair) -> None:
        desk = Desk(pair.one)
        home, quota = await desk.home(), Quota(documents=10)
        ledgers = [Ledger(ws.records, now=time.time) for ws in pair.both]
        key = f"workspaces/{home}/projects/p/documents/{{}}/raw/a.txt"
        made = await asyncio.gather(
            *(ledgers[n % 2].reserve(key.format(f"d{n}"), f"x{n}", 1, quota) for n in range(50)),
            return_exceptions=True,
        )
        assert sum(each is None for each in made) == 10
        assert all(isinstance(each, WorkspaceError) for each in made if each is not None)
        assert (await ledgers[1].total(home)).reserved_documents == 10

    async def test_one_request_id_at_both_makes_one_project(self, pair: Pair) -> None:
        for _ in range(5):
            request = ps.CreateProjectRequest(name="Once", request_id=str(uuid.uuid4()))
            made = await asyncio.gather(
                *(
                    ws.stub(ProjectServiceStub, as_=ANN).CreateProject(request)
                    for ws in pair.both * 4
                )
            )
            assert len({each.project.project_id for each in made}) == 1
            assert len({each.SerializeToString() for each in made}) == 1

    async def test_an_invitation_is_accepted_once(self, pair: Pair) -> None:
        here = Inviting(pair.one)
        await here.enter()
        for _ in range(3):
            made = await here.invite(anyone_with_link=True)
            said = await asyncio.gather(
                *(
                    _accept(ws, who, made.token)
                    for ws in pair.both for who in (CAT, DAN, EVE)
                )
            )
            winners = {who for who, code in said if code is None}
            assert len(winners) == 1, said
            (winner,) = winners
            await here.remove("ann@example.com", here.account_id, winner)

    async def test_page_and_resume_tokens_of_one_are_good_at_the_other(self, pair: Pair) -> None:
        for number in range(5):
            await pair.either(ProjectServiceStub, ANN).CreateProject(
                ps.CreateProjectRequest(name=f"P{number}")
            )
        names, token = [], ""
        for ws in pair.both * 3:
            page = await ws.stub(ProjectServiceStub, as_=ANN).ListProjects(
                ps.ListProjectsRequest(page_size=1, page_token=token)
            )
            names += [project.name for project in page.projects]
            token = page.next_page_token
            if not token:
                break
        assert sorted(names) == [f"P{n}" for n in range(5)]


class TestEvents:
    async def test_a_watcher_sees_what_the_other_process_does(self, pair: Pair) -> None:
        call = pair.two.stub(HistoryServiceStub, as_=ANN).WatchEvents(
            hs.WatchEventsRequest(event_types=["project.created"]), timeout=60
        )
        assert (await call.read()).checkpoint
        made = [
            (
                await pair.one.stub(ProjectServiceStub, as_=ANN).CreateProject(
                    ps.CreateProjectRequest(name=f"Seen {n}")
                )
            ).project.project_id
            for n in range(5)
        ]
        seen: list[str] = []
        while len(seen) < 5:
            message = await call.read()
            if not message.checkpoint:
                seen.append(message.event.project_id)
        call.cancel()
        assert seen == made

    async def test_search_finds_what_the_other_process_stored(self, pair: Pair) -> None:
        project = await pair.one.stub(ProjectServiceStub, as_=ANN).CreateProject(
            ps.CreateProjectRequest(name="Words")
        )
        await pair.one.stub(DocumentServiceStub, as_=ANN).CreateDocument(
            ds.CreateDocumentRequest(project_id=project.project.project_id, name="bridge.pdf")
        )

        async def found() -> bool:
            answer = await pair.two.stub(DocumentServiceStub, as_=ANN).SearchDocuments(
                ds.SearchDocumentsRequest(query="bridge")
            )
            return [each.name for each in answer.documents] == ["bridge.pdf"]

        await eventually(found, True)

    async def test_relays_hand_over_and_deliver_all_in_order(self, pair: Pair) -> None:
        """The first dies without a word. Until then only one delivers."""
        sinks = [_Sink(), _Sink()]
        relays = [
            Relay(
                sink, records=kernel.records, feed=kernel.feed, now=time.time, lease_seconds=1.0,
                metrics=RelayMetrics(CollectorRegistry()), linger=0.001,
            )
            for sink, kernel in zip(sinks, (pair.kernel(0), pair.kernel(1)), strict=True)
        ]
        await relays[0].register()
        projects = [await _project(pair, n) for n in range(3)]
        tasks = [asyncio.ensure_future(relay.run()) for relay in relays]
        try:
            await _rename(pair, projects, 5)
            await _until(lambda: len(sinks[0].taken) + len(sinks[1].taken) >= 18)
            first = 0 if sinks[0].taken else 1
            assert not sinks[1 - first].taken, "one process at a time"
            sinks[first].dead = True
            await _rename(pair, projects, 5)
            tasks[first].cancel()
            await _until(lambda: len(_distinct(sinks)) >= 33)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
        for sink in sinks:
            for numbers in sink.order().values():
                assert numbers == sorted(numbers)
        for pk in {f"PROJECT#{project_id}" for project_id in projects}:
            numbers = sorted({n for sink in sinks for n in sink.order().get(pk, [])})
            assert numbers == list(range(1, 12)), pk


class TestOnlyOne:
    async def test_a_lease_is_taken_over_after_silence_and_the_former_holder_knows(
        self, pair: Pair
    ) -> None:
        now, key = [1000.0], Key("RELAY#two", "LEASE")
        one, two = (
            Lease(ws.records, key, holder=str(n), now=lambda: now[0], seconds=30)
            for n, ws in enumerate(pair.both)
        )
        assert await one.acquire()
        assert not await two.acquire()
        now[0] += 31
        taken = await asyncio.gather(two.acquire(), one.renew())
        assert sum(taken) == 1
        if taken[0]:
            assert not await one.renew()
        now[0] += 31
        assert await two.acquire()
        assert not await one.renew()
        assert not one.held
        await two.release()
        assert await one.acquire()

    async def test_due_work_run_by_both_is_done_and_taken_away(self, pair: Pair) -> None:
        done: defaultdict[str, int] = defaultdict(int)
        late: set[str] = set()

        async def handler(subject: str) -> float | None:
            await asyncio.sleep(random.uniform(0, 0.01))
            done[subject] += 1
            if subject in late or not subject.endswith("7"):
                return None
            late.add(subject)
            return time.time() - 1  # once more, soon

        for n in range(60):
            await pair.kernel(n % 2).due.schedule("test.two", f"s{n}", time.time() - 1)
        for _ in range(3):
            await asyncio.gather(*(pair.kernel(i).due.run({"test.two": handler}) for i in (0, 1)))
        assert set(done) == {f"s{n}" for n in range(60)}
        assert all(done[f"s{n}"] >= 2 for n in range(60) if str(n).endswith("7"))
        before = sum(done.values())
        for index in (0, 1):
            await pair.kernel(index).due.run({"test.two": handler})
        assert sum(done.values()) == before, "nothing is left"

    async def test_work_scheduled_while_the_other_handles_it_is_not_forgotten(
        self, pair: Pair
    ) -> None:
        """The row is written anew, so who handles the former one may not take it away."""
        inside, go, seen = asyncio.Event(), asyncio.Event(), []
        at = time.time() + 0.2

        async def slow(subject: str) -> None:
            inside.set()
            await go.wait()
            seen.append("slow")

        async def quick(subject: str) -> None:
            seen.append("quick")

        await pair.kernel(0).due.schedule("test.anew", "x", at)
        await asyncio.sleep(0.3)
        running = asyncio.ensure_future(pair.kernel(0).due.run({"test.anew": slow}))
        await inside.wait()
        await pair.kernel(1).due.schedule("test.anew", "x", at)
        go.set()
        await running
        await pair.kernel(1).due.run({"test.anew": quick})
        assert seen == ["slow", "quick"]

    async def test_both_sweep_expired_rows(self, pair: Pair) -> None:
        records, past = pair.one.records, int(time.time()) - 10
        for n in range(40):
            key = Key(f"DUE#sweep{n}", "x")
            await records.put_row(Put(key, ABSENT, "due", json.dumps({"n": n}), expires_at=past))
        sweeps = [ExpirySweep(ws.records.driver, batch=7) for ws in pair.both]
        removed = await asyncio.gather(*(sweep.sweep() for sweep in sweeps))
        removed += [await sweep.sweep() for sweep in sweeps]
        assert sum(removed) >= 40
        assert await sweeps[0].sweep() == 0


class TestTransfers:
    @pytest.mark.case("R14")
    async def test_urls_of_a_project_end_at_both_at_once(self, pair: Pair) -> None:
        here, there, document_id = await _stored(pair)
        urls = [await _signed(desk, document_id) for desk in (here, there)]
        for url in urls:
            assert (await get(url)).status_code == 200
        await here.storage(ANN).RevokeTransfers(
            sp.RevokeTransfersRequest(project_id=here.project_id)
        )
        for url in urls:
            assert (await get(url)).status_code == 403
        assert (await get(await _signed(there, document_id))).status_code == 200

    @pytest.mark.case("U25", "R15")
    async def test_all_urls_end_at_both_when_it_is_promised(self, pair: Pair) -> None:
        here, there, document_id = await _stored(pair)
        await _bootstrap(pair)
        old = await _signed(there, document_id)
        answer = await here.storage(DAN).RevokeTransfers(sp.RevokeTransfersRequest(note="drill"))
        (result,) = answer.results
        promised = result.effective_at.seconds - answer.revoked_before.seconds

        async def works() -> bool:
            return (await get(old)).status_code == 200

        await _ends(works, promised)
        assert (await get(await _signed(there, document_id))).status_code == 200


class _Sink:
    """A consumer; when it is `dead` it neither takes events nor answers."""

    name = "two-processes"

    def __init__(self) -> None:
        self.taken: list[OutboxEvent] = []
        self.dead = False

    async def deliver(self, events: Sequence[OutboxEvent]) -> None:
        if self.dead:
            await asyncio.Event().wait()
        self.taken += [e for e in events if e.event.type.startswith("project.")]

    def order(self) -> dict[str, list[int]]:
        """Sequence numbers by partition, as they came."""
        found: defaultdict[str, list[int]] = defaultdict(list)
        for event in self.taken:
            found[event.pk].append(event.event.partition_sequence)
        return found


def _distinct(sinks: Sequence[_Sink]) -> set[str]:
    return {event.event_id for sink in sinks for event in sink.taken}


async def _until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(30):
        while not condition():  # noqa: ASYNC110 - there is no event to wait for
            await asyncio.sleep(0.01)


async def _ends(ask: Callable[[], Awaitable[bool]], seconds: float) -> None:
    """It is so no more when it is asked `seconds` from now."""
    since = asked = time.monotonic()
    while await ask():
        assert asked - since < seconds
        await asyncio.sleep(0.05)
        asked = time.monotonic()


async def _project(pair: Pair, number: int) -> str:
    made = await pair.either(ProjectServiceStub, ANN).CreateProject(
        ps.CreateProjectRequest(name=f"P{number}")
    )
    return str(made.project.project_id)


async def _rename(pair: Pair, projects: Sequence[str], times: int) -> None:
    """Each project gets `times` new names, by both processes at the same time."""

    async def one(project_id: str) -> None:
        for _ in range(times):
            await pair.either(ProjectServiceStub, ANN).UpdateProject(
                ps.UpdateProjectRequest(
                    project={"project_id": project_id, "name": secrets.token_hex(4)},
                    update_mask={"paths": ["name"]},
                )
            )

    await asyncio.gather(*map(one, projects))


async def _accept(ws: Workspace, who: str, token: str) -> tuple[str, Any]:
    here = Inviting(ws)
    try:
        await here.accept(who, token)
    except grpc.aio.AioRpcError as error:
        return who, error.code()
    return who, None


async def _bootstrap(pair: Pair) -> None:
    """dan becomes the platform admin."""
    secret = (pair.kernel(0).keys_dir / "local.secret").read_text().strip()
    await pair.one.stub(IdentityServiceStub, as_=DAN).BootstrapPlatformAdmin(
        ids.BootstrapPlatformAdminRequest(bootstrap_secret=secret)
    )


async def _stored(pair: Pair) -> tuple[Desk, Desk, str]:
    here, there = Desk(pair.one), Desk(pair.two)
    here.project_id = there.project_id = await here.new_project()
    document_id = await here.document()
    await here.uploaded(document_id, b"bytes" * 20)
    return here, there, document_id


async def _signed(desk: Desk, document_id: str) -> Any:
    answer = await desk.storage().CreateDownload(sp.CreateDownloadRequest(document_id=document_id))
    return answer.transfer
