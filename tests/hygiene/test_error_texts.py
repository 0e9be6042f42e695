"""A store that fails in its own words: no answer has one of them."""

from __future__ import annotations

import re
import sqlite3
import uuid
from pathlib import Path

import grpc
import pytest
from workspace.project.v1.project_service_pb2 import CreateProjectRequest, ListProjectsRequest
from workspace.project.v1.project_service_pb2_grpc import ProjectServiceStub

from services.rpc.errors import to_status
from tests.harness import Workspace

ANN = "ann@example.com"
WORDS = re.compile(
    rb"sqlstate|sqlite|sqlalchemy|psycopg|postgres|botocore|boto3|dynamo|azure|cosmos|no such"
    rb"|relation|duplicate key|select |insert |traceback|\.py\b|/tmp|/srv|wm-data|hunter2",
    re.IGNORECASE,
)
"""Of drivers, of SQL, of this machine."""
SAID = "psycopg.errors.UniqueViolation: duplicate key (SQLSTATE 23505) at /srv/db hunter2"


@pytest.mark.case("Y03")
@pytest.mark.parametrize("kind", [RuntimeError, OSError, KeyError, TypeError])
def test_the_words_of_a_driver_stay_inside(kind: type[Exception]) -> None:
    status = to_status(kind(SAID), "req-1").SerializeToString()
    assert not WORDS.search(status.replace(b"type.googleapis.com", b""))
    assert WORDS.search(SAID.encode()), "the words are looked for"


@pytest.mark.case("Y03")
async def test_a_database_that_breaks_says_so_in_our_words(tmp_path: Path) -> None:
    async with Workspace.open(tmp_path, records="sqlite") as workspace:
        await workspace.sign_in(ANN)
        stub = workspace.socket_stub(ProjectServiceStub, as_=ANN)
        await stub.CreateProject(CreateProjectRequest(name="Before", request_id=str(uuid.uuid4())))
        database = next((tmp_path / "wm-data").rglob("workspace.sqlite"))
        with sqlite3.connect(database, timeout=20) as other:
            other.execute("ALTER TABLE items RENAME TO gone")
        answers, again = [await _refused(stub)], str(uuid.uuid4())
        async with workspace.client(ANN) as client:
            for answer in (
                await client.get("/api/projects"),
                await client.post("/api/projects", json={"name": "After", "requestId": again}),
            ):
                assert answer.status_code >= 500, answer.text
                answers.append(answer.content + repr(answer.headers).encode())
    for answer in answers:
        assert not WORDS.search(answer), answer


async def _refused(stub: ProjectServiceStub) -> bytes:
    """All that a client can see of the failure."""
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await stub.ListProjects(ListProjectsRequest())
    trailers = b"".join(str(value).encode() for _, value in caught.value.trailing_metadata() or ())
    return (caught.value.details() or "").encode() + trailers
