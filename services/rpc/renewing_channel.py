"""A TLS channel that follows its files: gRPC does not reload channel credentials.

The files are looked at during calls, every two seconds at most. Changed ones open a
channel of their own; calls go over it as soon as it is connected, and those that run
end on the channel they began on.
"""

from __future__ import annotations

import asyncio
import logging
import time
import weakref
from collections.abc import Callable
from types import TracebackType
from typing import Any, Self

import grpc
import grpc.aio

from services.model.errors import WorkspaceError
from services.rpc.certificate_files import stamps_of
from services.rpc.tls import ClientPem, ClientTls

__all__ = ["RenewingChannel"]

_log = logging.getLogger(__name__)
_READY = grpc.ChannelConnectivity.READY
_PENDING_SECONDS = 0.02
"""How often a channel that is still connecting is looked at."""


class _Generation:
    """A channel of one state of the files, and its calls."""

    __slots__ = ("calls", "channel", "pem", "until")

    def __init__(self, channel: grpc.aio.Channel, pem: ClientPem, until: float) -> None:
        self.channel = channel
        self.pem = pem
        self.until = until
        self.calls: weakref.WeakSet[Any] = weakref.WeakSet()


class RenewingChannel(grpc.aio.Channel):
    """Opens its channels with `connect`. Times are seconds.

    `every`: how often the files are looked at. `patience`: how long calls stay on
    connections that work while new files do not connect (a peer that does not know the
    new authority yet); after that the files win, since a trust that was taken away has
    to end. `linger`: how long calls may take on a channel that was replaced.

    Raises WorkspaceError at once for files that cannot be used; a bad replacement is
    logged, and the last good one kept.
    """

    def __init__(
        self,
        tls: ClientTls,
        connect: Callable[[grpc.ChannelCredentials], grpc.aio.Channel],
        *,
        every: float = 2.0,
        patience: float = 120.0,
        linger: float = 1860.0,
    ) -> None:
        self._tls = tls
        self._connect = connect
        self._every = every
        self._patience = patience
        self._linger = linger
        self._stamps = stamps_of(tls.files)
        self._problem = ""
        self._closed = False
        self._next = time.monotonic() + every
        self._serving = self._open(tls.read(), self._next)
        self._candidate: _Generation | None = None
        self._retiring: dict[asyncio.Task[None], _Generation] = {}

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc_val: BaseException | None,
        exc_tb: TracebackType | None,
    ) -> None:
        await self.close()

    async def close(self, grace: float | None = None) -> None:
        """All channels, those included whose calls are still running."""
        self._closed = True
        retiring, self._retiring = self._retiring, {}
        for task in retiring:
            task.cancel()
        await asyncio.gather(*retiring, return_exceptions=True)
        left = [self._serving, *retiring.values()]
        left += [self._candidate] if self._candidate else []
        await asyncio.gather(*(each.channel.close(grace) for each in left))

    def get_state(self, try_to_connect: bool = False) -> grpc.ChannelConnectivity:
        return self.current().channel.get_state(try_to_connect)

    async def wait_for_state_change(self, last_observed_state: grpc.ChannelConnectivity) -> None:
        # In slices: the files may change while nobody calls.
        while (channel := self.current().channel).get_state() is last_observed_state:
            try:
                async with asyncio.timeout(self._every):
                    await channel.wait_for_state_change(last_observed_state)
            except TimeoutError:
                continue

    async def channel_ready(self) -> None:
        while (state := self.get_state(try_to_connect=True)) is not _READY:
            await self.wait_for_state_change(state)

    def unary_unary(self, method: str, *codec: Any, **more: Any) -> Any:
        return _Method(self, lambda channel: channel.unary_unary(method, *codec, **more))

    def unary_stream(self, method: str, *codec: Any, **more: Any) -> Any:
        return _Method(self, lambda channel: channel.unary_stream(method, *codec, **more))

    def stream_unary(self, method: str, *codec: Any, **more: Any) -> Any:
        return _Method(self, lambda channel: channel.stream_unary(method, *codec, **more))

    def stream_stream(self, method: str, *codec: Any, **more: Any) -> Any:
        return _Method(self, lambda channel: channel.stream_stream(method, *codec, **more))

    def current(self) -> _Generation:
        """Where a call goes that begins now."""
        now = time.monotonic()
        if now >= self._next:
            self._look(now)
        return self._serving

    def _look(self, now: float) -> None:
        if self._closed:
            return
        stamps = stamps_of(self._tls.files)  # before reading: a change after it is seen again
        if stamps != self._stamps or self._problem:
            self._stamps = stamps
            self._reload(now)
        if self._candidate is not None:
            self._promote(self._candidate, now)
        self._next = now + (_PENDING_SECONDS if self._candidate else self._every)

    def _reload(self, now: float) -> None:
        try:
            pem = self._tls.read()
        except WorkspaceError as error:
            if error.message != self._problem:
                _log.warning("TLS files of a channel not reloaded: %s", error.message)
            self._problem = error.message
            return
        self._problem = ""
        if pem == (self._candidate or self._serving).pem:
            return
        if self._candidate is not None:
            self._retire(self._candidate)
            self._candidate = None
        if pem != self._serving.pem:
            self._candidate = self._open(pem, now + self._patience)
            self._candidate.channel.get_state(try_to_connect=True)

    def _promote(self, candidate: _Generation, now: float) -> None:
        connected = candidate.channel.get_state() is _READY
        if not connected and self._serving.channel.get_state() is _READY:
            if now < candidate.until:
                return
            _log.warning("changed TLS files do not connect to the peer; they are used now")
        self._retire(self._serving)
        self._serving, self._candidate = candidate, None
        _log.info("changed TLS files are used for new calls")

    def _open(self, pem: ClientPem, until: float) -> _Generation:
        return _Generation(self._connect(grpc.ssl_channel_credentials(*pem)), pem, until)

    def _retire(self, old: _Generation) -> None:
        task = asyncio.get_running_loop().create_task(self._close_later(old), name="retire")
        self._retiring[task] = old
        task.add_done_callback(lambda done: self._retiring.pop(done, None))

    async def _close_later(self, old: _Generation) -> None:
        running = [asyncio.ensure_future(call.code()) for call in old.calls if not call.done()]
        try:
            if running:
                await asyncio.wait(running, timeout=self._linger)
        finally:
            for waiter in running:
                waiter.cancel()
        await old.channel.close()


class _Method:
    """A method of a stub, bound anew for each generation."""

    __slots__ = ("_channel", "_generation", "_inner", "_make")

    def __init__(self, channel: RenewingChannel, make: Callable[[grpc.aio.Channel], Any]) -> None:
        self._channel = channel
        self._make = make
        self._generation = channel.current()
        self._inner = make(self._generation.channel)

    def __call__(self, *request: Any, **options: Any) -> Any:
        generation = self._channel.current()
        if generation is not self._generation:
            self._inner = self._make(generation.channel)
            self._generation = generation
        call = self._inner(*request, **options)
        generation.calls.add(call)
        return call
