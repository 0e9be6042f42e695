"""A store that means no good: connections name servers that are not ours."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import count
from typing import Any

import pytest

from services.aws.clients import AwsClients
from services.aws.place import AwsPlace
from services.objects.port import StoreUnavailable
from services.objects.s3 import S3Driver
from tests.servers.buckets import credentials

LIST = (
    b"<ListBucketResult><IsTruncated>true</IsTruncated>"
    b"<Contents><Key>.hidden</Key><Size>1</Size></Contents></ListBucketResult>"
)
PARTS = (
    b"<ListPartsResult><IsTruncated>true</IsTruncated>"
    b"<Part><PartNumber>1</PartNumber><Size>5</Size><ETag>x</ETag></Part></ListPartsResult>"
)
MOST_ANSWERS = 50


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Any

    def log_message(self, *arguments: object) -> None: ...

    def do_HEAD(self) -> None:
        self._start(200, 0)

    def do_GET(self) -> None:
        if next(self.server.answers) > MOST_ANSWERS:  # so that a failing test ends
            self._start(404, 0)
        elif self.server.endless:
            self._endless()
        else:
            body = PARTS if "uploadId" in self.path else LIST
            self._start(200, len(body))
            self.wfile.write(body)

    def _endless(self) -> None:
        self.send_response(200)
        self.send_header("transfer-encoding", "chunked")
        self.end_headers()
        block = b"%x\r\n" % (1 << 20) + b" " * (1 << 20) + b"\r\n"
        for _ in range(64):
            try:
                self.wfile.write(block)
            except OSError:
                break
            self.server.sent += 1
        else:
            self.wfile.write(b"0\r\n\r\n")
        self.close_connection = True

    def _start(self, status: int, length: int) -> None:
        self.send_response(status)
        self.send_header("content-length", str(length))
        self.send_header("x-amz-bucket-region", "eu-central-1")
        self.end_headers()


@contextmanager
def hostile(*, endless: bool = False) -> Iterator[ThreadingHTTPServer]:
    server: Any = ThreadingHTTPServer(("127.0.0.1", 0), _Handler)
    server.daemon_threads, server.answers = True, count(1)
    server.endless, server.sent = endless, 0
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


async def opened(server: ThreadingHTTPServer) -> S3Driver:
    url = f"http://127.0.0.1:{server.server_address[1]}"
    clients = AwsClients(AwsPlace("eu-central-1", endpoints={"s3": url}))
    return await S3Driver.open(clients, "bucket", path_style=True, patience=0)


async def test_lists_without_end_are_given_up() -> None:
    with credentials(), hostile() as server:
        driver = await opened(server)
        with pytest.raises(StoreUnavailable, match="again and again"):
            await driver.list("")
        with pytest.raises(StoreUnavailable, match="again and again"):
            await driver.multipart_parts("k", f"-.{'0' * 32}.id")
        await driver.close()


async def test_an_answer_without_end_is_not_kept() -> None:
    with credentials(), hostile(endless=True) as server:
        driver = await opened(server)
        with pytest.raises(StoreUnavailable):
            await driver.list("")
        await driver.close()
        assert server.sent < 64  # type: ignore[attr-defined]
