"""`wm get` over a store that breaks off or is away for a moment, as behind a gateway that is
started again."""

from __future__ import annotations

import hashlib
import os
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import grpc
import pytest
from workspace.identity.v1.identity_service_pb2 import GetSessionResponse
from workspace.identity.v1.identity_service_pb2_grpc import (
    IdentityServiceServicer,
    add_IdentityServiceServicer_to_server,
)
from workspace.storage.v1.storage_service_pb2 import CreateDownloadResponse
from workspace.storage.v1.storage_service_pb2_grpc import (
    StorageServiceServicer,
    add_StorageServiceServicer_to_server,
)

from services.cli import main

DATA = b"the bytes of the report\n" * 100_000
DOCUMENT = "d_" + "a" * 26


class Identity(IdentityServiceServicer):
    def GetSession(self, request: Any, context: Any) -> GetSessionResponse:  # noqa: N802
        answer = GetSessionResponse()
        answer.session.user.user_id = "u_1"
        return answer


class Store(StorageServiceServicer):
    """Signs URLs that lead to `answers`, one after the other: a status, or the bytes it gives
    of 2.4 MB."""

    def __init__(self, *answers: int) -> None:
        self.answers = list(answers)
        self.given: list[int] = []
        store = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                answer = store.answers.pop(0)
                store.given.append(answer)
                self.send_response(answer if answer < 1000 else 200)
                self.send_header("Content-Length", str(len(DATA) if answer >= 1000 else 0))
                self.end_headers()
                if answer >= 1000:
                    self.wfile.write(DATA[:answer])
                self.close_connection = True

            def log_message(self, *_args: object) -> None:
                """Not on the tests' output."""

        self.http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self.http.serve_forever, daemon=True).start()

    def CreateDownload(self, request: Any, context: Any) -> CreateDownloadResponse:  # noqa: N802
        answer = CreateDownloadResponse(
            filename="report.txt", size_bytes=len(DATA), sha256=hashlib.sha256(DATA).hexdigest()
        )
        answer.transfer.method = "GET"
        answer.transfer.url = f"http://127.0.0.1:{self.http.server_address[1]}/a"
        return answer


@pytest.fixture
def started(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Store]:
    store = Store(*request.param)
    server = grpc.server(ThreadPoolExecutor(2))
    add_IdentityServiceServicer_to_server(Identity(), server)
    add_StorageServiceServicer_to_server(store, server)
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("WM_CONFIG_DIR", str(tmp_path / "config"))
    monkeypatch.setenv("WM_TOKEN", "a.b.c")
    monkeypatch.setenv("WM_SERVER", f"127.0.0.1:{port}")
    yield store
    server.stop(None).wait()
    store.http.shutdown()
    store.http.server_close()


WHOLE = len(DATA)


@pytest.mark.parametrize(
    "started", [(WHOLE,), (503, 429, WHOLE), (5000, WHOLE), (403, 503, WHOLE)], indirect=True
)
def test_it_is_fetched_whole_in_the_end(started: Store, tmp_path: Path) -> None:
    assert main.run(["get", DOCUMENT, "-o", "report.txt"]) == 0
    assert (tmp_path / "report.txt").read_bytes() == DATA
    assert started.answers == []
    assert not list(tmp_path.glob(".*.part"))


@pytest.mark.case("K25")
@pytest.mark.parametrize("started", [(WHOLE,)], indirect=True)
def test_a_link_beside_the_file_is_not_written_through(started: Store, tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.write_bytes(b"theirs")
    planted = tmp_path / f".report.txt.{os.getpid()}.part"
    planted.symlink_to(outside)
    os.link(outside, tmp_path / "report.txt")
    assert main.run(["get", DOCUMENT, "-o", "report.txt", "--force"]) == 0
    assert (tmp_path / "report.txt").read_bytes() == DATA
    assert outside.read_bytes() == b"theirs"
    assert planted.is_symlink()


@pytest.mark.parametrize("started", [(403, 403)], indirect=True)
def test_a_url_that_is_refused_twice_is_no_accident(
    started: Store, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    assert main.run(["get", DOCUMENT, "-o", "report.txt"]) == 1
    assert "the store refuses the URL" in capsys.readouterr().err
    assert started.given == [403, 403]
    assert not list(tmp_path.glob("*report*"))


@pytest.mark.parametrize("started", [(503, 1_500_000, WHOLE)], indirect=True)
def test_standard_output_is_written_once(
    started: Store, capsysbinary: pytest.CaptureFixture[bytes]
) -> None:
    assert main.run(["get", DOCUMENT, "-o", "-"]) == 8
    out, error = capsysbinary.readouterr()
    assert len(out) == 1 << 20
    begun = DATA.startswith(out)
    assert begun
    assert b"what was written is not whole" in error
    assert started.answers == [WHOLE]
