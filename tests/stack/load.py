"""Writers at a deployment while something is done to it, and what has to hold afterwards.

Each writer makes projects and documents, one after the other, with the published retry
policy and a `request_id` for each. What was acknowledged is kept; so is how often and with
which code a call failed after all retries, which is then repeated with the same id.
"""

from __future__ import annotations

import asyncio
import uuid
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import grpc
import grpc.aio
from workspace.project.v1.document_service_pb2 import CreateDocumentRequest, ListDocumentsRequest
from workspace.project.v1.history_service_pb2 import WatchEventsRequest
from workspace.project.v1.project_service_pb2 import CreateProjectRequest

from tests.stack.people import Person, request_id

__all__ = ["Follower", "Load", "following", "holds", "under_load"]

_SECONDS = 10.0


async def holds(condition: Callable[[], bool], seconds: float = 120) -> None:
    """Wait until it does."""
    async with asyncio.timeout(seconds):
        while not condition():  # noqa: ASYNC110 - another is polled
            await asyncio.sleep(0.05)


@dataclass
class Load:
    """`written`: names of acknowledged documents by project; `failures`: codes that a
    client saw in spite of its retries; `longest`: the longest time (s) until a write that
    failed was acknowledged."""

    people: list[Person]
    written: dict[str, list[str]] = field(default_factory=dict)
    failures: Counter[str] = field(default_factory=Counter)
    calls: int = 0
    longest: float = 0.0
    stopping: bool = False

    async def run(self) -> None:
        """Write until `stopping`."""
        await asyncio.gather(*(self._write(person) for person in self.people))

    async def until(self, calls: int) -> None:
        """Wait for so many more acknowledged calls: the deployment goes on."""
        wanted = self.calls + calls
        await holds(lambda: self.calls >= wanted)

    async def _write(self, person: Person) -> None:
        while not self.stopping:
            made = await self._acknowledged(
                person.projects.CreateProject,
                CreateProjectRequest(name=f"P {uuid.uuid4().hex}", request_id=request_id()),
            )
            names = self.written.setdefault(made.project.project_id, [])
            for number in range(5):
                request = CreateDocumentRequest(
                    project_id=made.project.project_id, name=f"{number}.txt",
                    request_id=request_id(),
                )  # fmt: skip
                await self._acknowledged(person.documents.CreateDocument, request)
                names.append(request.name)

    async def _acknowledged(self, method: Any, request: Any) -> Any:
        """Repeat until it is; a repeat has the same `request_id`, so one effect."""
        loop = asyncio.get_running_loop()
        begun = loop.time()
        while True:
            try:
                answer = await method(request, timeout=_SECONDS)
            except grpc.aio.AioRpcError as error:
                self.failures[error.code().name] += 1
                await asyncio.sleep(0.1)
            else:
                self.calls += 1
                self.longest = max(self.longest, loop.time() - begun)
                return answer

    async def lost(self) -> list[str]:
        """Acknowledged documents that are not there, or there twice."""
        found: list[str] = []
        for project_id, names in self.written.items():
            there = await self._names(project_id)
            found += [f"{project_id}/{name}" for name in names if there.count(name) != 1]
        return found

    async def _names(self, project_id: str) -> list[str]:
        person = self.people[0]
        for each in self.people:
            try:
                answer = await each.documents.ListDocuments(
                    ListDocumentsRequest(project_id=project_id, page_size=500), timeout=_SECONDS
                )
            except grpc.aio.AioRpcError as error:
                if error.code() is not grpc.StatusCode.PERMISSION_DENIED:
                    raise
            else:
                return [document.name for document in answer.documents]
        raise AssertionError(f"nobody sees {project_id}, not even {person.user_id}")


@asynccontextmanager
async def under_load(people: list[Person]) -> AsyncIterator[Load]:
    """Writers at work inside of the block; at its end what they began is acknowledged."""
    load = Load(people)
    running = asyncio.ensure_future(load.run())
    try:
        await load.until(20)
        yield load
        await load.until(20)
    finally:
        load.stopping = True
        async with asyncio.timeout(90):
            await running


@dataclass
class Follower:
    """Follows the events of a project with the token of the last one, over any number of
    streams. `created`: how often each document was said to be created; `ends`: codes of
    the streams that ended."""

    person: Person
    project_id: str
    created: Counter[str] = field(default_factory=Counter)
    ends: Counter[str] = field(default_factory=Counter)
    token: str = ""

    async def run(self) -> None:
        """Until cancelled."""
        while True:
            request = WatchEventsRequest(project_ids=[self.project_id], resume_token=self.token)
            try:
                async for message in self.person.history.WatchEvents(request, timeout=600):
                    self.token = message.resume_token
                    if message.event.type == "document.created":
                        self.created[message.event.resource.rpartition("/")[2]] += 1
            except grpc.aio.AioRpcError as error:
                self.ends[error.code().name] += 1
                await asyncio.sleep(0.1)

    async def until_created(self, documents: set[str]) -> None:
        """Wait until all these were said."""
        await holds(lambda: documents <= set(self.created))


@asynccontextmanager
async def following(person: Person, project_id: str) -> AsyncIterator[Follower]:
    """A follower inside of the block, at work from its beginning."""
    follower = Follower(person, project_id)
    running = asyncio.ensure_future(follower.run())
    try:
        await holds(lambda: bool(follower.token))
        yield follower
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
