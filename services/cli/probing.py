"""Why a server does not answer: it speaks something else, or its certificate is no good.

gRPC says the same of all of them, in words for its authors. So one more connection is made
to the same place, with nothing secret in it, and what comes of that is told.
"""

from __future__ import annotations

import socket
import ssl
from contextlib import suppress

from services.cli.exit_codes import ExitCode
from services.cli.failures import Failure
from services.cli.trust import Reached, certificate_failure, split_address

__all__ = ["with_probe"]

_SECONDS = 2.0
_ASKED = b"GET / HTTP/1.0\r\n\r\n"


def with_probe(failure: Failure, reached: Reached) -> Failure:
    """The failure; where looking finds a better one, that."""
    if failure.exit_code != ExitCode.UNAVAILABLE or failure.reason:
        return failure  # it answered
    try:
        found = _over_tls(reached) if reached.tls else _in_the_clear(reached)
    except (OSError, ValueError):
        return failure
    return found or failure


def _in_the_clear(reached: Reached) -> Failure | None:
    if _first_bytes(_connected(reached)) == b"HTTP/1.":
        return _http(reached)
    try:
        _encrypted(reached, _trusting()).close()
    except OSError:
        return None
    return _failure(
        f"{reached.server} speaks TLS, and was spoken to in plain text",
        f"write --server https://{reached.target}, with --ca FILE where it has an authority of "
        "its own",
    )


def _over_tls(reached: Reached) -> Failure | None:
    try:
        return _asked(reached, _encrypted(reached, reached.context()))
    except ssl.SSLCertVerificationError as error:
        return certificate_failure(reached.server, error, reached.ca_file, _names(reached))
    except (ssl.SSLError, ConnectionError, TimeoutError):
        return _plain(reached)


def _asked(reached: Reached, sock: ssl.SSLSocket) -> Failure | None:
    """Of a server whose certificate is good. With TLS 1.3 it asks for ours after the
    handshake, and ends the connection without one; a server of gRPC speaks first."""
    try:
        answer = _first_bytes(sock)
    except ssl.SSLError as error:
        answer = b"" if "CERTIFICATE_REQUIRED" in (error.reason or "") else None
    if answer == b"HTTP/1.":
        return _http(reached)
    if answer != b"":
        return None
    return _failure(
        f"{reached.server} takes no connection: perhaps it wants a certificate of the client, as "
        "services do among themselves",
        "give the address of the gateway",
    )


def _plain(reached: Reached) -> Failure | None:
    """Of a server with which no handshake was possible: does it talk without?"""
    sock = _connected(reached)
    with sock:
        # The preface of HTTP/2 and empty SETTINGS: a gRPC server answers with its own.
        sock.sendall(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\4\0\0\0\0\0")
        answer = sock.recv(4)
    if not answer or answer[0] == 0x15:  # gone, or an alert of TLS
        return None
    return _failure(
        f"{reached.server} does not speak TLS",
        "on this machine leave out https:// and --ca; elsewhere have it serve TLS "
        "(WM_TLS_CERTIFICATE, WM_TLS_KEY)",
    )


def _names(reached: Reached) -> str:
    """Those in the certificate, checked in all but the name."""
    context = reached.context()
    context.check_hostname = False
    with suppress(OSError), _encrypted(reached, context) as sock:
        found = (sock.getpeercert() or {}).get("subjectAltName", ())
        return ", ".join(str(entry[1]) for entry in found)
    return ""


def _connected(reached: Reached) -> socket.socket:
    sock = socket.create_connection(split_address(reached.target), _SECONDS)
    sock.settimeout(_SECONDS)
    return sock


def _encrypted(reached: Reached, context: ssl.SSLContext) -> ssl.SSLSocket:
    context.set_alpn_protocols(["h2", "http/1.1"])
    sock = _connected(reached)
    try:
        return context.wrap_socket(sock, server_hostname=reached.host)
    except BaseException:
        sock.close()
        raise


def _trusting() -> ssl.SSLContext:
    """Only to learn whether TLS is spoken at all; nothing is sent."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


def _first_bytes(sock: socket.socket) -> bytes | None:
    """b'': the connection ended; None: nothing came in time."""
    with sock:
        try:
            sock.sendall(_ASKED)
            return sock.recv(7)
        except ConnectionError:
            return b""
        except TimeoutError:
            return None


def _http(reached: Reached) -> Failure:
    return _failure(
        f"{reached.server} speaks HTTP, not gRPC",
        "give the gRPC address of the workspace: port 50051, or `grpc` in endpoint.json",
    )


def _failure(message: str, remedy: str) -> Failure:
    return Failure(ExitCode.UNAVAILABLE, message, remedy)
