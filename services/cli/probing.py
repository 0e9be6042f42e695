"""Why a server does not answer: perhaps it is the HTTP port."""

from __future__ import annotations

import socket

from services.cli.exit_codes import ExitCode
from services.cli.failures import Failure

__all__ = ["with_probe"]

_SECONDS = 1.0


def with_probe(failure: Failure, server: str) -> Failure:
    """The failure; when `server` speaks HTTP/1, one that says so."""
    if failure.exit_code != ExitCode.UNAVAILABLE or not _speaks_http(server):
        return failure
    return Failure(
        ExitCode.UNAVAILABLE,
        f"{server} speaks HTTP, not gRPC",
        "give the gRPC address of the workspace: port 50051, or `grpc` in endpoint.json",
    )


def _speaks_http(server: str) -> bool:
    host, _, port = server.removeprefix("grpc://").removeprefix("http://").rpartition(":")
    try:
        with socket.create_connection((host, int(port.strip("/"))), _SECONDS) as sock:
            sock.settimeout(_SECONDS)
            sock.sendall(b"GET / HTTP/1.0\r\n\r\n")
            return sock.recv(7) == b"HTTP/1."
    except (OSError, ValueError):
        return False
