"""A server over TLS that answers as a test says, and counts what it was asked."""

from __future__ import annotations

import ssl
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from tests.servers import azure

Answer = tuple[int, Mapping[str, str], bytes]
Say = Callable[[str, str], Answer]
"""Method and path to the answer."""


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Any

    def do_GET(self) -> None:
        self.rfile.read(int(self.headers.get("Content-Length") or 0))
        self.server.asked.append((self.command, self.path))
        status, headers, body = self.server.say(self.command, self.path)
        self.send_response(status)
        for name, value in {"content-length": str(len(body)), **headers}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    do_POST = do_PUT = do_DELETE = do_HEAD = do_GET  # noqa: N815 - names of the library

    def log_message(self, *_args: object) -> None:
        """Not on the tests' output."""


@contextmanager
def answering(say: Say, handler: type[Handler] = Handler) -> Iterator[Any]:
    """The started server: its `url`, and `asked` with method and path of every request."""
    server: Any = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    server.daemon_threads, server.say, server.asked = True, say, []
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(*azure.certificate())
    server.socket = tls.wrap_socket(
        server.socket, server_side=True, do_handshake_on_connect=False
    )
    server.url = f"https://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def refused(status: int, code: str, more: Mapping[str, str] | None = None) -> Answer:
    """As Blob Storage refuses."""
    body = f"<?xml version='1.0'?><Error><Code>{code}</Code><Message>-</Message></Error>"
    headers = {"x-ms-error-code": code, "content-type": "application/xml", **(more or {})}
    return status, headers, body.encode()
