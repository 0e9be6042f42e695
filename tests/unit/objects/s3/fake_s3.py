"""An S3 server of one bucket that fails as it is told, before or after the effect."""

from __future__ import annotations

import base64
import hashlib
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

__all__ = ["FakeS3", "Fault", "serving"]


@dataclass(frozen=True)
class Fault:
    """`status` 0 closes the connection without an answer. `after`: the request has had
    its effect. `method` '' is any."""

    status: int
    code: str = ""
    method: str = ""
    after: bool = False
    headers: tuple[tuple[str, str], ...] = ()


@dataclass
class FakeS3:
    """Objects (bytes, content type) by key; `faults` are used up in order;
    the next `cut_reads` answers to GET break off in their middle; it copies, too."""

    objects: dict[str, tuple[bytes, str]] = field(default_factory=dict)
    faults: list[Fault] = field(default_factory=list)
    seen: list[str] = field(default_factory=list)
    cut_reads: int = 0
    without_ranges: bool = False
    connections: int = 0
    lock: threading.Lock = field(default_factory=threading.Lock)
    url: str = ""

    def next_fault(self, method: str) -> Fault | None:
        with self.lock:
            for fault in self.faults:
                if fault.method in ("", method):
                    self.faults.remove(fault)
                    return fault
        return None


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Any

    def setup(self) -> None:
        self.server.fake.connections += 1
        super().setup()

    def log_message(self, *arguments: object) -> None: ...

    def _do(self) -> None:
        fake: FakeS3 = self.server.fake
        body = self.rfile.read(int(self.headers.get("content-length", "0")))
        method, parts = self.command, urlsplit(self.path)
        key = unquote(parts.path).partition("/b/")[2]
        fake.seen.append(f"{method} {key}")
        fault = fake.next_fault(method)
        answer = (200, {}, b"")
        if fault is None or fault.after:
            with fake.lock:
                answer = self._effect(fake, method, key, body, parse_qs(parts.query, True))
        if fault is not None:
            if fault.status == 0:
                self.close_connection = True
                return
            text = f"<Error><Code>{fault.code}</Code></Error>" if fault.code else ""
            answer = (fault.status, dict(fault.headers), text.encode())
        self._answer(*answer, cut=fake)

    do_GET = do_PUT = do_HEAD = do_DELETE = do_POST = _do  # noqa: N815

    def _effect(
        self, fake: FakeS3, method: str, key: str, body: bytes, query: dict[str, list[str]]
    ) -> tuple[int, dict[str, str], bytes]:
        if not key or "list-type" in query:
            return 200, {"x-amz-bucket-region": "eu-central-1"}, b"<ListBucketResult/>"
        there = fake.objects.get(key)
        if method == "PUT":
            if there is not None:
                return 412, {}, b"<Error><Code>PreconditionFailed</Code></Error>"
            source = unquote(self.headers.get("x-amz-copy-source", "")).partition("/b/")[2]
            if source:
                fake.objects[key] = fake.objects[source]
                return 200, {}, b"<CopyObjectResult/>"
            fake.objects[key] = (body, self.headers.get("content-type", ""))
            return 200, {"etag": '"x"'}, b""
        if method == "DELETE":
            fake.objects.pop(key, None)
            return 204, {}, b""
        if there is None:
            return 404, {}, b"<Error><Code>NoSuchKey</Code></Error>"
        data, kind = there
        digest = base64.b64encode(hashlib.sha256(data).digest()).decode()
        headers = {"content-type": kind, "etag": '"x"', "x-amz-checksum-sha256": digest}
        span = self.headers.get("range", "")
        if span and not fake.without_ranges:
            first, _, last = span.removeprefix("bytes=").partition("-")
            return 206, headers, data[int(first) : int(last) + 1 if last else len(data)]
        return 200, headers, data

    def _answer(self, status: int, headers: dict[str, str], body: bytes, cut: FakeS3) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        if status != 204:
            self.send_header("content-length", str(len(body)))
        self.end_headers()
        if self.command == "HEAD":
            return
        if self.command == "GET" and cut.cut_reads and len(body) > 1:
            cut.cut_reads -= 1
            body = body[: len(body) // 2]
            self.close_connection = True
        self.wfile.write(body)


@contextmanager
def serving() -> Iterator[FakeS3]:
    """On a loopback port."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Handler)
    server.daemon_threads = True
    fake = FakeS3(url=f"http://127.0.0.1:{server.server_address[1]}")
    server.fake = fake  # type: ignore[attr-defined]
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield fake
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
