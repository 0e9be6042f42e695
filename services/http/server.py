"""Serves the gateway with uvicorn in the running loop; signals stay the process's."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
import ssl
from collections.abc import Iterator
from typing import Any

import uvicorn
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from services.http.hardening import harden
from services.http.limits import HttpLimits
from services.http.protocol import protocol_class
from services.model.errors import Reason, WorkspaceError
from services.rpc.addresses import address_of, is_local, literal
from services.rpc.tls import ServerTls

__all__ = ["HttpServer", "bind_http"]

_log = logging.getLogger("workspace.http")
_BACKLOG = 1024
_TICK_SECONDS, _TICKS_A_DAY = 0.1, 864_000
_TURNS_OF_AN_ACCEPT = 5
"""Of the event loop, until a connection that was just accepted is known."""


def bind_http(
    host: str,
    port: int,
    *,
    tls: ServerTls | None = None,
    option: str = "--http-port",
    harmless: bool = False,
) -> tuple[socket.socket, str]:
    """A listening socket (port 0: any free one) and the base URL it answers at.

    Connections wait in its queue until `HttpServer.start`. Raises
    WorkspaceError (INVALID_STATE) when the address is taken, or beyond
    loopback without TLS, unless what passes there is `harmless`. `option` sets the port.
    """
    address = literal(address_of(host, port))
    if tls is None and not harmless and not is_local(address):
        raise _unusable(
            address,
            f"refusing to listen on {address} without TLS: bearer tokens would travel in the "
            "clear; configure a certificate and key, or listen on 127.0.0.1",
        )
    name, _, _ = address.rpartition(":")
    try:
        sock = _listen(name.strip("[]"), port)
    except OSError as error:
        raise _unusable(
            address,
            f"cannot listen on {address}: {error.strerror or error}; stop the other process or "
            f"choose another port with {option}",
        ) from error
    scheme = "https" if tls else "http"
    return sock, f"{scheme}://{name}:{sock.getsockname()[1]}"


def _listen(host: str, port: int) -> socket.socket:
    family, kind, protocol, _, address = socket.getaddrinfo(
        host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
    )[0]
    sock = socket.socket(family, kind, protocol)
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.bind(address)
        sock.listen(_BACKLOG)  # two bound sockets may share a port until one listens
        sock.setblocking(False)
    except OSError:
        sock.close()
        raise
    return sock


def _unusable(address: str, message: str) -> WorkspaceError:
    return WorkspaceError(Reason.ERROR_REASON_INVALID_STATE, message, metadata={"address": address})


class _Server(uvicorn.Server):
    """Leaves signals alone, says when it serves, and ends as soon as it is to: uvicorn looks
    ten times a second, and then pauses, whether anybody is connected or not."""

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self.serving = asyncio.Event()
        self.ending = asyncio.Event()

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self.serving.set()

    async def main_loop(self) -> None:
        ticks = 0
        while not await self.on_tick(ticks):
            ticks = (ticks + 1) % _TICKS_A_DAY
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self.ending.wait(), _TICK_SECONDS)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        for server in self.servers:
            server.close()
        for sock in sockets or []:
            sock.close()
        for _ in range(_TURNS_OF_AN_ACCEPT):
            await asyncio.sleep(0)
        state = self.server_state
        if state.connections or state.tasks or self.config.is_ssl:  # a handshake may be under way
            await super().shutdown(sockets)


class HttpServer:
    """Serves `app` on a socket of `bind_http`. Construct it in a running loop.

    `tls` files are read again when they change. `stop` lets running requests
    finish for `grace` seconds, then cancels them; it closes the socket.
    """

    def __init__(
        self,
        app: ASGIApp,
        sock: socket.socket,
        *,
        tls: ServerTls | None = None,
        limits: HttpLimits | None = None,
        grace: float = 10.0,
    ) -> None:
        limits = limits or HttpLimits()
        self._sock = sock
        self._grace = grace
        self._task: asyncio.Task[None] | None = None
        self._leaving = False
        more: dict[str, Any] = {}
        if tls is not None:
            more["ssl_context_factory"] = lambda *_: _reloading_context(tls)
        config = uvicorn.Config(
            self._answering(app),
            http=protocol_class(limits),
            ws="none",
            lifespan="off",
            log_config=None,
            access_log=False,
            proxy_headers=False,
            server_header=False,
            backlog=_BACKLOG,
            timeout_keep_alive=int(limits.keep_alive),
            **more,
        )
        self._server = _Server(config)

    @property
    def port(self) -> int:
        """The bound port."""
        return int(self._sock.getsockname()[1])

    async def start(self) -> None:
        """Returns when requests are served. Raises what keeps it from serving."""
        self._task = asyncio.create_task(self._server.serve(sockets=[self._sock]), name="http")
        waiter = asyncio.create_task(self._server.serving.wait())
        await asyncio.wait({self._task, waiter}, return_when=asyncio.FIRST_COMPLETED)
        waiter.cancel()
        if self._task.done():
            task, self._task = self._task, None
            self._sock.close()
            task.result()

    async def drain(self, delay: float) -> None:
        """Serve for `delay` seconds more, then `stop`. Each answer closes its connection,
        so that clients which keep theirs go elsewhere before they meet a closed one."""
        self._leaving = True
        await asyncio.sleep(delay)
        await self.stop()

    async def stop(self, grace: float | None = None) -> None:
        """Refuse new connections, finish running requests. May be called again."""
        seconds: Any = self._grace if grace is None else grace  # fractions work too
        self._server.config.timeout_graceful_shutdown = seconds
        self._server.should_exit = True
        self._server.ending.set()
        task, self._task = self._task, None
        if task is not None:
            await task
        self._sock.close()

    def _answering(self, app: ASGIApp) -> ASGIApp:
        async def serve(scope: Scope, receive: Receive, send: Send) -> None:
            async def answer(message: Message) -> None:
                if message["type"] == "http.response.start":
                    left = [(b"connection", b"close")] if self._leaving else []
                    message = {**message, "headers": [*message.get("headers", ()), *left]}
                    harden(message, scope)
                await send(message)

            await app(scope, receive, answer)

        return serve


def _context(tls: ServerTls) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_alpn_protocols(["http/1.1"])
    try:
        context.load_cert_chain(tls.cert_file, tls.key_file)
        if tls.client_ca_file is not None:
            context.load_verify_locations(tls.client_ca_file)
            context.verify_mode = ssl.CERT_REQUIRED
    except (OSError, ssl.SSLError) as error:
        raise WorkspaceError(
            Reason.ERROR_REASON_INVALID_STATE,
            f"TLS files {tls.cert_file} and {tls.key_file} cannot be used: {error.strerror}",
            metadata={"field": "cert_file"},
        ) from error
    return context


def _reloading_context(tls: ServerTls) -> ssl.SSLContext:
    """A context whose handshakes use the newest files; a bad replacement is
    logged and the last good one kept."""
    first = current = _context(tls)
    seen = _stamps(tls)

    def pick(connection: ssl.SSLObject, *_: object) -> None:
        nonlocal current, seen
        stamps = _stamps(tls)
        if stamps != seen:
            seen = stamps
            try:
                current = _context(tls)
            except WorkspaceError as error:
                _log.warning("TLS files not reloaded: %s", error.message)
        connection.context = current

    first.sni_callback = pick
    return first


def _stamps(tls: ServerTls) -> tuple[object, ...]:
    files = (tls.cert_file, tls.key_file, tls.client_ca_file)
    found: list[object] = []
    for file in files:
        try:
            found.append(file and (file.stat().st_mtime_ns, file.stat().st_ino))
        except OSError:
            found.append(None)
    return tuple(found)
