"""What opening a table and a bucket refuses, and what it says that helps."""

from __future__ import annotations

import threading
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from workspace.sync.v1.connection_pb2 import CheckOutcome, Connection

from services.backends import wall_millis
from services.model.errors import Reason, WorkspaceError
from sync_svc.connections import testing
from sync_svc.surfaces import aws as surfaces
from sync_svc.surfaces.aws import open_dynamodb_records, open_s3_objects, variable_of
from sync_svc.surfaces.opening import SurfaceOpener
from tests.servers import aws
from tests.servers.marks import needs_servers

pytestmark = [
    pytest.mark.usefixtures("aws_environment"),
    needs_servers,
]
FAILED, WARNING = CheckOutcome.CHECK_OUTCOME_FAILED, CheckOutcome.CHECK_OUTCOME_WARNING
Setenv = Callable[[str, str], None]


@pytest.fixture
def setenv(monkeypatch: pytest.MonkeyPatch) -> Setenv:
    """With the connection's own keys set; those of the process are taken away."""
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    monkeypatch.setenv(variable_of("cloud", "ACCESS_KEY_ID"), aws.ACCESS_KEY)
    monkeypatch.setenv(variable_of("cloud", "SECRET_ACCESS_KEY"), aws.SECRET_KEY)
    return monkeypatch.setenv


def manifest(**settings: str) -> Connection:
    """A connection to the test servers, whose stores are not there yet."""
    there = {
        "region": aws.REGION, "table": f"t-{uuid.uuid4().hex[:12]}",
        "bucket": f"b-{uuid.uuid4().hex[:12]}", "path_style": "true",
        "dynamodb_endpoint": aws.dynamodb_local().url.rstrip("/"),
        "s3_endpoint": aws.versitygw().url.rstrip("/"),
    }  # fmt: skip
    return Connection(connection_id="cloud", provider="aws", settings={**there, **settings})


@contextmanager
def as_maker() -> Iterator[None]:
    """With the credentials of the process, which make the stores."""
    with pytest.MonkeyPatch.context() as patch:
        for name, value in aws.environment().items():
            patch.setenv(name, value)
        yield


def made(**settings: str) -> Connection:
    """A connection whose stores are there."""
    connection = manifest(**settings)
    with as_maker():
        aws.make_table(aws.dynamodb_local(), connection.settings["table"])
        aws.make_bucket(aws.versitygw(), connection.settings["bucket"])
    return connection


async def refused(
    opening: Callable[..., Any], connection: Connection, *, read_only: bool = False
) -> WorkspaceError:
    with pytest.raises(WorkspaceError) as caught:
        await opening(connection, read_only=read_only)
    assert aws.SECRET_KEY not in str(caught.value)
    return caught.value


@contextmanager
def answering(code: str) -> Iterator[str]:
    """A server that answers every call with one error, as DynamoDB and S3 do."""

    class Handler(BaseHTTPRequestHandler):
        def _answer(self) -> None:
            self.rfile.read(int(self.headers.get("content-length") or 0))
            json = "x-amz-target" in self.headers
            body = (
                f'{{"__type": "com.amazon.coral#{code}", "message": "no"}}'
                if json
                else f"<Error><Code>{code}</Code><Message>no</Message></Error>"
            ).encode()
            self.send_response(400 if json else 403)
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(body)

        do_GET = do_HEAD = do_POST = do_PUT = _answer  # noqa: N815

        def log_message(self, *_: Any) -> None:
            """Says nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


BOTH = pytest.mark.parametrize("opening", [open_dynamodb_records, open_s3_objects])


def at(url: str) -> Connection:
    return manifest(dynamodb_endpoint=url, s3_endpoint=url)


@BOTH
async def test_what_is_missing_is_made_by_setup(opening: Any, setenv: Setenv) -> None:
    error = await refused(opening, manifest())
    assert "wm setup aws" in error.message
    assert "wm connections set cloud" in error.message


@BOTH
async def test_without_credentials_it_says_which_variables(
    opening: Any, setenv: Setenv, monkeypatch: pytest.MonkeyPatch
) -> None:
    for part in ("ACCESS_KEY_ID", "SECRET_ACCESS_KEY"):
        monkeypatch.delenv(variable_of("cloud", part))
    connection = manifest()
    error = await refused(opening, connection)
    assert error.reason == Reason.ERROR_REASON_INVALID_STATE
    assert "for AWS alone" in error.message
    for name in ("dynamodb_endpoint", "s3_endpoint"):
        del connection.settings[name]
    error = await refused(opening, connection)  # nothing is sent anywhere
    assert error.reason == Reason.ERROR_REASON_BACKEND_UNAVAILABLE
    assert "WM_CONNECTION_CLOUD_AWS_ACCESS_KEY_ID" in error.message
    connection.settings["profile"] = "nobody"
    assert "no profile 'nobody'" in (await refused(opening, connection)).message


@BOTH
@pytest.mark.parametrize(
    ("code", "said"),
    [
        ("AccessDenied", ("dynamodb:DescribeTable", "s3:ListBucket")),
        ("AccessDeniedException", ("dynamodb:DescribeTable", "s3:ListBucket")),
        ("ExpiredToken", ("WM_CONNECTION_CLOUD_AWS_SESSION_TOKEN",)),
        ("ExpiredTokenException", ("WM_CONNECTION_CLOUD_AWS_SESSION_TOKEN",)),
        ("RequestTimeTooSkewed", ("clock",)),
        ("InvalidSignatureException", ("WM_CONNECTION_CLOUD_AWS_ACCESS_KEY_ID",)),
        ("SignatureDoesNotMatch", ("WM_CONNECTION_CLOUD_AWS_ACCESS_KEY_ID",)),
    ],
)
async def test_each_refusal_has_its_remedy(
    opening: Any, setenv: Setenv, code: str, said: tuple[str, ...]
) -> None:
    with answering(code) as url:
        error = await refused(opening, at(url))
    assert any(each in error.message for each in said), error.message


async def test_wrong_keys_and_regions_of_a_bucket(setenv: Setenv) -> None:
    connection = made(region="us-east-1")
    error = await refused(open_s3_objects, connection)
    assert "wm connections set cloud region=" in error.message
    connection.settings["region"] = aws.REGION
    setenv(variable_of("cloud", "SECRET_ACCESS_KEY"), "hidden1hidden1")
    error = await refused(open_s3_objects, connection)
    assert "WM_CONNECTION_CLOUD_AWS_ACCESS_KEY_ID" in error.message
    assert "hidden1" not in str(error)


@BOTH
async def test_a_server_that_is_down_is_said_to_be(
    opening: Any, setenv: Setenv, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(surfaces, "_OPEN_SECONDS", 1.0)
    with answering("x") as url:
        pass
    error = await refused(opening, at(url))
    assert error.reason == Reason.ERROR_REASON_BACKEND_UNAVAILABLE
    assert error.metadata["backend"] != "surface", "a plan would take it for an empty one"


@BOTH
async def test_a_server_that_says_nothing_does_not_hang_it(
    opening: Any, setenv: Setenv, monkeypatch: pytest.MonkeyPatch
) -> None:
    import socket

    monkeypatch.setattr(surfaces, "_OPEN_SECONDS", 0.5)
    monkeypatch.setattr(surfaces, "_CALL_SECONDS", 0.5)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        url = f"http://127.0.0.1:{listener.getsockname()[1]}"
        error = await refused(opening, at(url))
    assert error.reason == Reason.ERROR_REASON_BACKEND_UNAVAILABLE


async def test_a_table_of_something_else_is_refused(setenv: Setenv, tmp_path: Path) -> None:
    connection = manifest()
    clients = aws.clients_of(aws.dynamodb_local())
    with as_maker():
        clients.client("dynamodb").create_table(
            TableName=connection.settings["table"], BillingMode="PAY_PER_REQUEST",
            KeySchema=[{"AttributeName": "id", "KeyType": "HASH"}],
            AttributeDefinitions=[{"AttributeName": "id", "AttributeType": "S"}],
        )  # fmt: skip
    await clients.close()
    error = await refused(open_dynamodb_records, connection)
    assert error.reason == Reason.ERROR_REASON_INVALID_STATE
    assert "PK" in error.message or "key" in error.message
    tester = testing.Tester(opening=opener(tmp_path), now=lambda: wall_millis() / 1000)
    report = await tester.run(connection, read_only=False)
    assert [each.check for each in report.checks if each.outcome == FAILED] == ["format"]


def opener(tmp_path: Path) -> SurfaceOpener:
    return SurfaceOpener(own_instance_id="", data_dir=tmp_path / "wm-data", wall_ms=wall_millis)


async def test_the_checks_of_a_table_and_a_bucket(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    connection = made()
    monkeypatch.setenv(variable_of("cloud", "ACCESS_KEY_ID"), aws.ACCESS_KEY)
    monkeypatch.setenv(variable_of("cloud", "SECRET_ACCESS_KEY"), aws.SECRET_KEY)
    tester = testing.Tester(opening=opener(tmp_path), now=lambda: wall_millis() / 1000)
    unused = await tester.run(connection, read_only=True)
    assert not unused.usable, "nothing is written to look at it"
    assert "never used" in unused.checks[0].error.message
    report = await tester.run(connection, read_only=False)
    assert report.usable, report.checks
    names = [each.check for each in report.checks]
    assert names == [
        "credentials", "instance", "format", "records_read", "objects_read", "records_write",
        "objects_write", "consistency", "clock", "encryption", "recovery",
    ]  # fmt: skip
    noted = {each.check: each.error.message for each in report.checks if each.outcome == WARNING}
    assert noted.keys() <= {"recovery"}
    assert (await tester.run(connection, read_only=True)).usable
    clients = aws.clients_of(aws.versitygw())
    client = clients.client("s3", path_style=True)
    assert not client.list_objects_v2(Bucket=connection.settings["bucket"]).get("Contents")
    _open_to_all(client, connection.settings["bucket"])
    await clients.close()
    public = await tester.run(connection, read_only=False)
    [failed] = [each for each in public.checks if each.outcome == FAILED]
    assert failed.check == "encryption"
    assert "is public" in failed.error.message
    assert (await tester.run(connection, read_only=True)).usable, "it can still be read"


def _open_to_all(client: Any, bucket: str) -> None:
    import json

    statement = {
        "Effect": "Allow", "Principal": "*", "Action": "s3:GetObject",
        "Resource": f"arn:aws:s3:::{bucket}/*",
    }  # fmt: skip
    policy = json.dumps({"Version": "2012-10-17", "Statement": [statement]})
    client.put_bucket_policy(Bucket=bucket, Policy=policy)
