"""Lives of workspaces that sync, one after the other, each a process to be killed.

This process only imports and forks: a life begins where others have imported. An
order on stdin is a line of JSON, a mission and a pipe; on stdout it tells the life's
pid, and its exit code. In the pipe the life tells what it did, a JSON line each,
after it was acknowledged: who kills it knows what must be there. Missions: `loop`
writes, pushes and pulls for ever, the others end by themselves.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
import random
import sys
import traceback
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import grpc.aio
from workspace.project.v1.document_service_pb2 import CreateDocumentRequest
from workspace.sync.v1.connection_pb2 import Connection, Trust
from workspace.sync.v1.connection_service_pb2 import CreateConnectionRequest
from workspace.sync.v1.connection_service_pb2_grpc import ConnectionServiceStub
from workspace.sync.v1.run_pb2 import Run, RunStatus
from workspace.sync.v1.sync_service_pb2 import CompareSurfacesRequest, ListRunsRequest

from services.model.families import FAMILIES
from services.records.port import Key
from sync_svc.runs.states import has_ended
from tests.harness import Workspace
from tests.integration.sync.nodes import ANN, Node, request_id

_SIZES = (200, 3000, 400_000)
BACKUP = "backup"


def tell(event: str, **more: Any) -> None:
    """A line for the parent: in the pipe it outlives this process."""
    print(json.dumps({"event": event, **more}), flush=True)


@dataclass
class Mission:
    """`mine` are documents that only this node writes, `shared` those that both do."""

    what: str
    folder: str
    provider: str
    settings: dict[str, str]
    seed: int = 0
    name: str = ""
    project: str = ""
    mine: list[str] = field(default_factory=list)
    shared: list[str] = field(default_factory=list)
    prelude: str = ""
    token: str = ""
    records: int = 0


class Life:
    def __init__(self, node: Node, mission: Mission) -> None:
        self.node = node
        self.mission = mission
        self.chance = random.Random(mission.seed)

    async def live(self) -> None:
        await self.connect()
        tell("ready")
        await self.after_resuming()
        await getattr(self, self.mission.what)()

    async def connect(self) -> None:
        manifest = Connection(
            connection_id=BACKUP, provider=self.mission.provider,
            settings=self.mission.settings, trust=Trust.TRUST_FULL,
        )
        stub = self.node.stub(ConnectionServiceStub)
        with suppress(grpc.aio.AioRpcError):  # there since its first life
            await stub.CreateConnection(CreateConnectionRequest(connection=manifest))

    async def runs(self) -> list[Run]:
        answer = await self.node.sync.ListRuns(ListRunsRequest(connection_id=BACKUP, page_size=50))
        return list(answer.runs)

    async def after_resuming(self) -> None:
        """Wait for the run of the life before, which nobody asked to go on."""
        found = [run.run_id for run in await self.runs() if not has_ended(run)]
        while True:
            runs = await self.runs()
            if all(has_ended(run) for run in runs):
                break
            await asyncio.sleep(0.02)
        for run in runs:
            if run.run_id in found:
                tell("resumed", **_told(run))

    async def setup(self) -> None:
        project = await self.node.project()
        shared = [await self.node.document(project, f"shared {number}") for number in range(3)]
        tell("made", project=project, shared=shared)
        await self.push()
        tell("done")

    async def arrive(self) -> None:
        await self.pull()
        tell("done")

    async def loop(self) -> None:
        while True:
            for _ in range(self.chance.randrange(1, 4)):
                await self.write()
            if self.chance.random() < 0.8:
                await self.push()
            if self.chance.random() < 0.7:
                await self.pull()

    async def strike(self) -> None:
        """For a prelude that kills: one document with its bytes, pushed."""
        await self.create()
        await self.push()

    async def bulk(self) -> None:
        """Many documents, pushed."""
        for _ in range(self.mission.records):
            await self.node.documents.CreateDocument(
                CreateDocumentRequest(
                    project_id=self.mission.project, name=self.new_name(),
                    request_id=request_id(),
                )
            )
        await self.push()

    async def resume(self) -> None:
        """The run of the life before has ended by now."""
        tell("done")

    async def settle(self) -> None:
        moved = (await self.push()).counts.records_written
        moved += (await self.pull()).counts.records_written
        moved += (await self.push()).counts.records_written
        tell("settled", moved=moved, **await self.compared())

    async def compared(self) -> dict[str, Any]:
        request = CompareSurfacesRequest(
            connection_id=BACKUP, include_objects=True, read_bytes=True, page_size=500
        )
        differences: list[str] = []
        while True:
            answer = await self.node.sync.CompareSurfaces(request, timeout=240)
            differences += [str(each) for each in answer.differences]
            request.page_token = answer.next_page_token
            if not request.page_token:
                return {
                    "equal": answer.equal, "differences": differences[:5],
                    "records": answer.records_compared, "objects": answer.objects_compared,
                }

    async def push(self) -> Run:
        tell("push")
        run = await self.node.push(BACKUP, ok=False)
        tell("pushed", **_told(run))
        return run

    async def pull(self) -> Run:
        tell("pull")
        run = await self.node.pull(BACKUP, ok=False)
        tell("pulled", **_told(run))
        return run

    async def write(self) -> None:
        dice = self.chance.random()
        if dice < 0.25 and self.mission.mine:
            await self.entitle(self.chance.choice(self.mission.mine))
        elif dice < 0.4:
            await self.entitle(self.chance.choice(self.mission.shared))
        else:
            await self.create()

    async def create(self) -> None:
        name = self.new_name()
        made = await self.node.documents.CreateDocument(
            CreateDocumentRequest(
                project_id=self.mission.project, name=name, request_id=request_id()
            )
        )
        document_id = str(made.document.document_id)
        await self.acked(document_id)
        data = self.chance.randbytes(self.chance.choice(_SIZES))
        await self.node.send(document_id, data)
        await self.acked(document_id, sha256=hashlib.sha256(data).hexdigest())
        self.mission.mine.append(document_id)

    async def entitle(self, document_id: str) -> None:
        title = self.new_name()
        tell("try", document=document_id, title=title)
        await self.node.edit(document_id, title=title)
        await self.acked(document_id)

    def new_name(self) -> str:
        return f"{self.mission.name} {request_id()}"

    async def acked(self, document_id: str, **more: Any) -> None:
        """A call about this document was answered; tell which version that made."""
        read = await self.node.read(document_id)
        key = Key(*FAMILIES["document"].key_of(read))
        record = await self.node.ws.records.get(FAMILIES["document"], key)
        dot = record.stamp.dot
        tell("ack", document=document_id, title=read.title, key=[key.pk, key.sk], dot=dot, **more)


def _told(run: Run) -> dict[str, Any]:
    counts = {each.name: value for each, value in run.counts.ListFields()}
    error = run.error.message
    return {"status": RunStatus.Name(run.status), "error": error, "counts": counts}


async def main(mission: Mission) -> None:
    exec(mission.prelude, {})  # where a test takes a protection away
    async with Workspace.open(Path(mission.folder), local_realm="home") as ws:
        node = Node(ws, Path(mission.folder))
        if mission.token:  # to sign in is a change, and would be one to sync in every life
            ws._tokens[ANN] = mission.token
        else:
            await ws.sign_in(ANN)
            await node.bootstrap()
            tell("token", token=ws.token(ANN))
        await Life(node, mission).live()


def nursery() -> None:
    """Lives as they are ordered, until stdin ends."""
    for line in sys.stdin:
        order = json.loads(line)
        pipe = os.open(order["pipe"], os.O_WRONLY)
        pid = os.fork()
        if not pid:
            os.dup2(pipe, 1)
            os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
            os._exit(_lived(Mission(**order["mission"])))
        os.close(pipe)
        print(pid, flush=True)
        print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), flush=True)


def _lived(mission: Mission) -> int:
    try:
        asyncio.run(main(mission))
    except BaseException:
        traceback.print_exc()
        return 1
    return 0


if __name__ == "__main__":
    nursery()
