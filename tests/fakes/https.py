"""What the small fakes of Azure's services share: an HTTPS server in a thread that checks
tokens as the service does, and fails on demand.

`faults` are taken one by one by requests whose token is good: an `Answer` instead of the
service's, `CUT` (the connection ends before anything is done) or `CUT_AFTER` (what was asked
is done, and the connection ends without an answer). `roles` are what the identity may do.
"""

from __future__ import annotations

import json
import socket
import ssl
import threading
from collections import deque
from dataclasses import dataclass, field
from email.utils import formatdate
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Literal, Self
from urllib.parse import parse_qsl, unquote, urlsplit

from tests.fakes.sign_in import claims_of

__all__ = ["CUT", "CUT_AFTER", "Answer", "HttpsFake", "Request"]

CUT: Literal["cut"] = "cut"
CUT_AFTER: Literal["cut after"] = "cut after"


@dataclass(frozen=True)
class Request:
    method: str
    path: str
    query: dict[str, str]
    headers: dict[str, str]
    """Names in lower case."""
    body: bytes

    def json(self) -> Any:
        return json.loads(self.body)


@dataclass(frozen=True)
class Answer:
    status: int
    document: Any = None
    headers: dict[str, str] = field(default_factory=dict)


class HttpsFake:
    """One service. Subclasses say `audiences`, how it refuses (`error`), and `handle`."""

    audiences: tuple[str, ...] = ()

    def __init__(self, certificate: tuple[Path, Path]) -> None:
        self.faults: deque[Answer | Literal["cut", "cut after"]] = deque()
        self.always: Answer | Literal["cut", "cut after"] | None = None
        self.requests: list[Request] = []
        self.lock = threading.RLock()
        self._tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        self._tls.load_cert_chain(*certificate)

    def start(self) -> Self:
        self._server = _Server(self, self._tls)
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()
        return self

    def stop(self) -> None:
        self._server.shutdown()
        self._server.server_close()

    @property
    def url(self) -> str:
        return f"https://127.0.0.1:{self._server.server_address[1]}"

    def answer(self, request: Request) -> Answer | None:
        """None ends the connection."""
        with self.lock:
            if not self.signed_in(request):
                return self.unauthorized()
            self.requests.append(request)
            fault = self.faults.popleft() if self.faults else self.always
            if isinstance(fault, Answer):
                return fault
            if fault == CUT:
                return None
            answer = self.handle(request)
            return None if fault == CUT_AFTER else answer

    def signed_in(self, request: Request) -> bool:
        given = request.headers.get("authorization", "")
        return any(claims_of(given, audience) is not None for audience in self.audiences)

    def unauthorized(self) -> Answer:
        return self.error(401, "Unauthorized", "The token is missing or not good.")

    def error(self, status: int, code: str, message: str = "", **more: Any) -> Answer:
        """The shape of most services' errors ("Microsoft REST API Guidelines")."""
        return Answer(status, {"error": {"code": code, "message": message or code, **more}})

    def handle(self, request: Request) -> Answer:
        """What the service does, under `lock`."""
        return self.error(404, "NotFound", request.path)


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 64

    def __init__(self, fake: HttpsFake, tls: ssl.SSLContext) -> None:
        self._tls = tls
        handler = type("Handler", (_Handler,), {"fake": fake})
        super().__init__(("127.0.0.1", 0), handler)

    def get_request(self) -> tuple[socket.socket, Any]:
        """The handshake is for the connection's own thread."""
        connection, address = super().get_request()
        wrapped = self._tls.wrap_socket(connection, server_side=True, do_handshake_on_connect=False)
        return wrapped, address

    def handle_error(self, _request: Any, _address: Any) -> None:
        """Clients may go away; a fault of a fake shows in its test."""


class _Handler(BaseHTTPRequestHandler):
    fake: HttpsFake
    protocol_version = "HTTP/1.1"
    timeout = 60
    disable_nagle_algorithm = True  # head and body are two writes: the second waits for 40 ms

    def _answer(self) -> None:
        answer = self.fake.answer(self._request())
        if answer is None:
            self.close_connection = True
            self.connection.shutdown(socket.SHUT_RDWR)
            return
        content = b"" if answer.document is None else json.dumps(answer.document).encode()
        self.send_response_only(answer.status)
        kind = "application/json; charset=utf-8"
        standard = {"Date": formatdate(usegmt=True), "Content-Type": kind}
        for name, value in {**standard, **answer.headers}.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    do_GET = do_HEAD = do_POST = do_PUT = do_PATCH = do_DELETE = _answer  # noqa: N815 - its names

    def log_message(self, *_arguments: object) -> None:
        """Not on the tests' output."""

    def _request(self) -> Request:
        parts = urlsplit(self.path)
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        headers = {name.lower(): value for name, value in self.headers.items()}
        return Request(
            self.command, unquote(parts.path), dict(parse_qsl(parts.query)), headers, body
        )
