"""A proxy before a server of AWS's protocols that goes wrong as AWS does.

It forwards requests byte for byte (signatures stay good: the Host header is the
client's) and asks its `plan` for each what is to go wrong. What is "after" happens once
the server has done its work: the answer is lost, the effect is there.
"""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import Enum
from http.client import HTTPConnection, HTTPException, HTTPResponse
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import urlsplit

__all__ = ["Asked", "Edit", "Fault", "Faulty", "Plan"]


class Fault(Enum):
    """What may go wrong with one request."""

    THROTTLED = "fewer requests, please; nothing done"
    BROKEN = "500 before anything was done"
    BROKEN_AFTER = "500 after the work was done"
    CUT = "the connection ends before anything was done"
    CUT_AFTER = "the connection ends after the work was done"
    SILENT_AFTER = "no answer for `Faulty.silence` seconds after the work was done"
    PARTIAL = "half of a batch is not answered"
    EXPIRED = "the session of the credentials has ended; nothing done"
    SKEWED = "the clock of the client is wrong; nothing done"


@dataclass(frozen=True)
class Asked:
    """One request as the proxy saw it. `operation`: DynamoDB's, or S3's method."""

    operation: str
    path: str
    number: int


Plan = Callable[[Asked], Fault | None]
Edit = Callable[[str, bytes, bytes], bytes]
"""Operation, request and answer to the answer that the client gets."""

_AFTER = (Fault.BROKEN_AFTER, Fault.CUT_AFTER, Fault.SILENT_AFTER)
_REFUSALS = {  # status and codes: DynamoDB, S3
    Fault.THROTTLED: ((400, "ThrottlingException"), (503, "SlowDown")),
    Fault.BROKEN: ((500, "InternalServerError"), (500, "InternalError")),
    Fault.BROKEN_AFTER: ((500, "InternalServerError"), (500, "InternalError")),
    Fault.EXPIRED: ((400, "ExpiredTokenException"), (400, "ExpiredToken")),
    Fault.SKEWED: ((400, "RequestTimeTooSkewed"), (403, "RequestTimeTooSkewed")),
}


@dataclass
class Faulty:
    """The proxy. `start` and `stop` it; `plan` may be changed at any time. `edit` changes
    good answers."""

    upstream: str
    plan: Plan = lambda _asked: None
    silence: float = 1.0
    edit: Edit | None = None
    asked: list[tuple[Asked, Fault | None]] = field(default_factory=list)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def start(self) -> Faulty:
        proxy = self

        class Handler(_Handler):
            faulty = proxy

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)
        self._thread.start()
        return self

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_address[1]}"

    def stop(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def decide(self, operation: str, path: str) -> Fault | None:
        with self._lock:
            asked = Asked(operation, path, len(self.asked))
            fault = self.plan(asked)
            self.asked.append((asked, fault))
            return fault


class _Handler(BaseHTTPRequestHandler):
    faulty: Faulty
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        try:
            self._serve()
        except (OSError, HTTPException):
            self.close_connection = True

    do_POST = do_PUT = do_DELETE = do_HEAD = do_GET  # noqa: N815 - names of the library

    def log_message(self, *_args: object) -> None:
        """Not on the tests' output."""

    def _serve(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        target = self.headers.get("X-Amz-Target", "")
        operation = target.partition(".")[2] or self.command
        fault = self.faulty.decide(operation, self.path)
        if fault is Fault.CUT:
            self.close_connection = True
        elif fault in _REFUSALS and fault not in _AFTER:
            self._refuse(fault, dynamodb=bool(target))
        else:
            self._forward(body, fault, dynamodb=bool(target))

    def _forward(self, body: bytes, fault: Fault | None, *, dynamodb: bool) -> None:
        left: dict[str, Any] = {}
        if fault is Fault.PARTIAL and dynamodb:
            body, left = _halved(body)
        address = urlsplit(self.faulty.upstream)
        upstream = HTTPConnection(address.hostname or "", address.port, timeout=60)
        try:
            headers = {name.lower(): value for name, value in self.headers.items()}
            headers["content-length"] = str(len(body))
            upstream.request(self.command, self.path, body, headers)
            answer = upstream.getresponse()
            content = answer.read()
        finally:
            upstream.close()
        if left and answer.status == 200:
            content = json.dumps({**json.loads(content), "UnprocessedKeys": left}).encode()
        if self.faulty.edit is not None and answer.status == 200:
            operation = self.headers.get("X-Amz-Target", "").partition(".")[2]
            content = self.faulty.edit(operation, body, content)
        self._answer(answer, content, fault, dynamodb=dynamodb)

    def _answer(
        self, answer: HTTPResponse, content: bytes, fault: Fault | None, *, dynamodb: bool
    ) -> None:
        if fault is Fault.SILENT_AFTER:
            time.sleep(self.faulty.silence)
        if fault in (Fault.CUT_AFTER, Fault.SILENT_AFTER):
            self.close_connection = True
        elif fault is Fault.BROKEN_AFTER:
            self._refuse(fault, dynamodb=dynamodb)
        else:
            self._send(answer.status, list(answer.getheaders()), content)

    def _refuse(self, fault: Fault, *, dynamodb: bool) -> None:
        status, code = _REFUSALS[fault][0 if dynamodb else 1]
        if dynamodb:
            kind = "application/x-amz-json-1.0"
            text = json.dumps({"__type": f"com.amazonaws.dynamodb#{code}", "message": "faulty"})
        else:
            kind = "application/xml"
            text = f"<?xml version='1.0'?><Error><Code>{code}</Code><Message>-</Message></Error>"
        self._send(status, [("Content-Type", kind)], text.encode())

    def _send(self, status: int, headers: list[tuple[str, str]], content: bytes) -> None:
        self.send_response_only(status)
        # The checksum was that of the answer before it was changed.
        hop = {
            "connection",
            "transfer-encoding",
            "content-length",
            "keep-alive",
            "x-amz-crc32",
        }
        for name, value in headers:
            if name.lower() not in hop or (name.lower() == "content-length" and self._is_head()):
                self.send_header(name, value)
        if not self._is_head():
            self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        if not self._is_head():
            self.wfile.write(content)

    def _is_head(self) -> bool:
        return self.command == "HEAD"


def _halved(body: bytes) -> tuple[bytes, dict[str, Any]]:
    """A BatchGetItem with the first half of its keys, and what is left of it."""
    asked = json.loads(body)
    left: dict[str, Any] = {}
    for table, part in asked.get("RequestItems", {}).items():
        keys = part.get("Keys", [])
        if rest := keys[(len(keys) + 1) // 2 :]:
            left[table] = {**part, "Keys": rest}
            part["Keys"] = keys[: len(keys) - len(rest)]
    return json.dumps(asked).encode(), left
