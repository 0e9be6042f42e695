"""uvicorn's HTTP/1.1 protocol with a limit and a deadline for the head.

uvicorn bounds neither the size of header fields nor how long they take, and
keeps a silent connection for ever (slowloris).
"""

from __future__ import annotations

import asyncio
from typing import Any

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from services.http.hardening import raw_answer
from services.http.limits import HttpLimits
from services.http.transfers import ABORT

__all__ = ["protocol_class"]

_TOO_LARGE = raw_answer("431 Request Header Fields Too Large")


class _HeadTooLarge(Exception):
    """Ends the parser's run; the answer was written already."""


class _Protocol(HttpToolsProtocol):
    limits: HttpLimits

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._in_head = False
        self._in_body = False
        self._began = False
        self._head_bytes = 0
        self._refused = False
        self._head_timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._arm()

    def connection_lost(self, exc: Exception | None) -> None:
        self._disarm()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        if self._refused:
            return
        self._began = False
        super().data_received(data)
        if self.transport.is_closing():
            return
        # Unfinished fields are held by the parser and reach no callback, so
        # the bytes are counted here; not the chunk that ends another message.
        if self._in_head and not self._began:
            self._head_bytes += len(data)
            if self._head_bytes > self.limits.max_head_bytes:
                self._refuse()
                return
        if not self._in_body and not self._answering():
            self._arm()

    def on_message_begin(self) -> None:
        self._in_head = self._began = True
        self._head_bytes = 0
        self._arm()
        super().on_message_begin()
        self.scope["extensions"] = {ABORT: {"abort": self.transport.abort}}

    def on_headers_complete(self) -> None:
        size = len(self.url) + sum(len(name) + len(value) + 4 for name, value in self.headers)
        self._in_head, self._in_body = False, True
        self._disarm()
        if size > self.limits.max_head_bytes:
            self._refuse()
            raise _HeadTooLarge
        super().on_headers_complete()

    def on_message_complete(self) -> None:
        self._in_body = False
        super().on_message_complete()

    def send_400_response(self, msg: str) -> None:
        """Called by the base for what the parser refuses."""
        self._disarm()
        if not self._refused:
            self._refused = True
            self.transport.write(raw_answer("400 Bad Request", msg))
            self.transport.close()

    def _answering(self) -> bool:
        return self.cycle is not None and not self.cycle.response_complete

    def _refuse(self) -> None:
        self._refused = True
        self._disarm()
        self.transport.write(_TOO_LARGE)
        self.transport.close()

    def _arm(self) -> None:
        if self._head_timer is None:
            self._head_timer = self.loop.call_later(self.limits.head_timeout, self._expired)

    def _disarm(self) -> None:
        if self._head_timer is not None:
            self._head_timer.cancel()
            self._head_timer = None

    def _expired(self) -> None:
        self._head_timer = None
        if self._answering():  # a pipelined head waits for the answer before it
            self._arm()
        elif not self.transport.is_closing():
            self.transport.close()


def protocol_class(limits: HttpLimits) -> type[HttpToolsProtocol]:
    """The protocol of one server."""
    return type("LimitedProtocol", (_Protocol,), {"limits": limits})
