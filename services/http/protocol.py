"""uvicorn's HTTP/1.1 protocol with a limit and a deadline for the head.

uvicorn bounds neither the size of header fields nor how long they take, and
keeps a silent connection for ever (slowloris).
"""

from __future__ import annotations

import asyncio
from typing import Any

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from services.http.limits import HttpLimits

__all__ = ["protocol_class"]

_TOO_LARGE = (
    b"HTTP/1.1 431 Request Header Fields Too Large\r\n"
    b"content-length: 0\r\nconnection: close\r\n\r\n"
)


class _HeadTooLarge(Exception):  # noqa: N818
    """Raised out of the parser's callbacks."""


class _Protocol(HttpToolsProtocol):
    limits: HttpLimits

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._head_bytes = 0
        self._in_head = True
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
        if self._in_head and self._head_timer is None:
            self._arm()
        super().data_received(data)
        if self._in_head and not self.transport.is_closing():
            # Unfinished fields are held by the parser and reach no callback.
            self._head_bytes += len(data)
            self._check_head()

    def on_message_begin(self) -> None:
        self._in_head = True
        self._head_bytes = 0
        super().on_message_begin()

    def on_headers_complete(self) -> None:
        size = len(self.url) + sum(len(name) + len(value) + 4 for name, value in self.headers)
        self._in_head = False
        self._disarm()
        if self._refused or size > self.limits.max_head_bytes:
            self._refuse()
            raise _HeadTooLarge
        super().on_headers_complete()

    def on_message_complete(self) -> None:
        super().on_message_complete()
        self._in_head = True
        self._head_bytes = 0

    def send_400_response(self, msg: str) -> None:
        self._disarm()
        if not self._refused:
            self._refused = True
            super().send_400_response(msg)

    def _check_head(self) -> None:
        if self._head_bytes > self.limits.max_head_bytes:
            self._refuse()

    def _refuse(self) -> None:
        if not self._refused:
            self._refused = True
            self._disarm()
            self.transport.write(_TOO_LARGE)
            self.transport.close()

    def _arm(self) -> None:
        self._head_timer = self.loop.call_later(self.limits.head_timeout, self._expired)

    def _disarm(self) -> None:
        if self._head_timer is not None:
            self._head_timer.cancel()
            self._head_timer = None

    def _expired(self) -> None:
        self._head_timer = None
        if not self.transport.is_closing():
            self.transport.close()


def protocol_class(limits: HttpLimits) -> type[HttpToolsProtocol]:
    """The protocol of one server."""
    return type("LimitedProtocol", (_Protocol,), {"limits": limits})
