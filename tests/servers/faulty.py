"""A proxy before a server of AWS's protocols, or of Blob Storage's, that goes wrong as the
service does (`dialects`); over TLS when it has a certificate.

It forwards requests byte for byte (signatures stay good: the Host header is the
client's) and asks its `plan` for each what is to go wrong. What is "after" happens once
the server has done its work: the answer is lost, the effect is there.
"""

from __future__ import annotations

import json
import ssl
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from http.client import HTTPConnection, HTTPException, HTTPResponse, HTTPSConnection
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from tests.servers.dialects import AWS, BLOB, Dialect, Fault

__all__ = ["AWS", "BLOB", "Asked", "Dialect", "Edit", "Fault", "Faulty", "Plan"]


@dataclass(frozen=True)
class Asked:
    """One request as the proxy saw it. `operation`: as its dialect names it."""

    operation: str
    path: str
    number: int


Plan = Callable[[Asked], Fault | None]
Edit = Callable[[str, bytes, bytes], bytes]
"""Operation, request and answer to the answer that the client gets."""

_AFTER = (Fault.BROKEN_AFTER, Fault.CUT_AFTER, Fault.SILENT_AFTER)


@dataclass
class Faulty:
    """The proxy. `start` and `stop` it; `plan` may be changed at any time. `edit` changes
    good answers. `certificate` (PEM files: itself, its key) makes it speak TLS, `ca_file` is
    the authority of a server that does."""

    upstream: str
    plan: Plan = lambda _asked: None
    silence: float = 1.0
    edit: Edit | None = None
    dialect: Dialect = AWS
    certificate: tuple[Path, Path] | None = None
    ca_file: str = ""
    asked: list[tuple[Asked, Fault | None]] = field(default_factory=list)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def start(self) -> Faulty:
        proxy = self

        class Handler(_Handler):
            faulty = proxy

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        if self.certificate is not None:
            tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            tls.load_cert_chain(*self.certificate)
            self._server.socket = tls.wrap_socket(
                self._server.socket, server_side=True, do_handshake_on_connect=False
            )
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)
        self._thread.start()
        return self

    @property
    def url(self) -> str:
        scheme = "https" if self.certificate else "http"
        return f"{scheme}://127.0.0.1:{self._server.server_address[1]}"

    def stop(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def connect(self) -> HTTPConnection:
        """A connection to the server behind."""
        address = urlsplit(self.upstream)
        host, port = address.hostname or "", address.port
        if address.scheme == "http":
            return HTTPConnection(host, port, timeout=60)
        tls = ssl.create_default_context(cafile=self.ca_file or None)
        return HTTPSConnection(host, port, timeout=60, context=tls)

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
        operation = self.faulty.dialect.operation(self.command, self.path, self.headers)
        fault = self.faulty.decide(operation, self.path)
        if fault is Fault.CUT:
            self.close_connection = True
        elif fault is None or fault in _AFTER or not self._refuse(fault):
            self._forward(body, fault)

    def _forward(self, body: bytes, fault: Fault | None) -> None:
        left: dict[str, Any] = {}
        if fault is Fault.PARTIAL and self.headers.get("X-Amz-Target"):
            body, left = _halved(body)
        upstream = self.faulty.connect()
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
        self._answer(answer, content, fault)

    def _answer(self, answer: HTTPResponse, content: bytes, fault: Fault | None) -> None:
        if fault is Fault.SILENT_AFTER:
            time.sleep(self.faulty.silence)
        if fault in (Fault.CUT_AFTER, Fault.SILENT_AFTER):
            self.close_connection = True
        elif fault is Fault.BROKEN_AFTER:
            self._refuse(fault)
        else:
            self._send(answer.status, list(answer.getheaders()), content)

    def _refuse(self, fault: Fault) -> bool:
        """Whether the service has an answer for it."""
        refusal = self.faulty.dialect.refusal(fault, self.path, self.headers)
        if refusal is not None:
            self._send(*refusal)
        return refusal is not None

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
