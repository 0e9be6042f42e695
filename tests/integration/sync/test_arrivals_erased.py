"""Who is erased on one node is erased on all."""

from __future__ import annotations

import base64
import json
from pathlib import Path

from workspace.identity.v1.identity_service_pb2 import EraseUserRequest
from workspace.identity.v1.identity_service_pb2_grpc import IdentityServiceStub

from tests.integration.sync.arriving import eventually, send, two_nodes
from tests.integration.sync.nodes import BOB, Node, request_id

NAME = "Roberta Quxley"


async def told(node: Node) -> list[str]:
    """Sort keys of rows that still know the person."""
    found: list[str] = []
    after = None
    while items := await node.ws.process.kernel.records.scan(after, 500):
        found += [i.key.sk for i in items if _tells(i.family, i.body)]
        after = items[-1].key
    return found


def _tells(family: str, body: str) -> bool:
    if family == "erasure":
        return False  # gone with the last step
    text = body
    if family == "request":
        answer = json.loads(body).get("answer", "")
        text += base64.b64decode(answer).decode("utf-8", "replace")
    return NAME in text or BOB in text.lower()


async def test_erased_on_one_node_is_erased_on_all(tmp_path: Path) -> None:
    async with two_nodes(tmp_path) as (a, b):
        for node in (a, b):
            bob = await node.ws.sign_in(BOB, name=NAME)
        await send(a, b)
        await b.project(f"For {BOB}")  # of B alone: nothing of it comes from A
        assert await told(b)
        stub = a.stub(IdentityServiceStub, BOB)
        await stub.EraseUser(
            EraseUserRequest(user_id=bob, confirm_user_id=bob, request_id=request_id())
        )

        async def clean(node: Node) -> bool:
            await node.due()
            return not await told(node)

        await eventually(lambda: clean(a))
        await send(a, b)
        await eventually(lambda: clean(b))
        for sender, receiver in ((b, a), (a, b), (b, a), (a, b)):
            await send(sender, receiver)
        run = await a.push()  # nothing is written for ever
        assert run.counts.records_written == 0
        assert not await told(a)
        assert not await told(b)
