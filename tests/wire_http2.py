"""HTTP/2 by hand: what no client library would send.

    async with Wire.open(address) as wire:
        wire.send(headers(1, b"/no.Such/Method\\xff"), data(1, message(b""), end=True))
        answer = await wire.until_end_of(1)

Header fields go out as literals (RFC 7541 6.2.2). What comes back is only cut into frames
(RFC 9113 4.1): gRPC writes its own header fields as plain literals too, so that
`has_status` finds them.
"""

from __future__ import annotations

import asyncio
import struct
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass

__all__ = [
    "ACK", "CONTINUATION", "DATA", "END_HEADERS", "END_STREAM", "GOAWAY", "HEADERS", "PING",
    "PREFACE", "RST_STREAM", "SETTINGS", "WINDOW_UPDATE", "Frame", "Wire", "block", "data",
    "frame", "has_status", "headers", "message", "reset",
]  # fmt: skip

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
DATA, HEADERS, RST_STREAM, SETTINGS, PING, GOAWAY = 0, 1, 3, 4, 6, 7
WINDOW_UPDATE, CONTINUATION = 8, 9
END_STREAM, ACK, END_HEADERS = 1, 1, 4
_CANCEL = 8
_SECONDS = 30.0


@dataclass(frozen=True, slots=True)
class Frame:
    """One frame that came."""

    kind: int
    flags: int
    stream: int
    payload: bytes


def frame(kind: int, flags: int, stream: int, payload: bytes = b"") -> bytes:
    """A frame as bytes."""
    return struct.pack(">I", len(payload))[1:] + struct.pack(">BBI", kind, flags, stream) + payload


def block(path: bytes, fields: Sequence[tuple[bytes, bytes]] = ()) -> bytes:
    """The header block of a gRPC call."""
    head = [
        (b":method", b"POST"), (b":scheme", b"http"), (b":path", path), (b":authority", b"x"),
        (b"content-type", b"application/grpc"), (b"te", b"trailers"),
    ]  # fmt: skip
    return b"".join(b"\x00" + _text(name) + _text(value) for name, value in [*head, *fields])


def headers(stream: int, path: bytes, fields: Sequence[tuple[bytes, bytes]] = ()) -> bytes:
    """Opens a call; its request message is to follow."""
    return frame(HEADERS, END_HEADERS, stream, block(path, fields))


def message(body: bytes) -> bytes:
    """A gRPC message, not compressed."""
    return struct.pack(">BI", 0, len(body)) + body


def data(stream: int, payload: bytes, *, end: bool = False) -> bytes:
    """A DATA frame."""
    return frame(DATA, END_STREAM if end else 0, stream, payload)


def reset(stream: int) -> bytes:
    """Gives the stream up."""
    return frame(RST_STREAM, 0, stream, struct.pack(">I", _CANCEL))


def has_status(frames: Sequence[Frame], code: int) -> bool:
    """Whether one of them is the end of a call with this gRPC status."""
    number = str(code).encode()
    wanted = b"grpc-status" + bytes([len(number)]) + number
    return any(wanted in each.payload for each in frames if each.kind == HEADERS)


def _text(value: bytes) -> bytes:
    """A string literal without Huffman coding, its length as in RFC 7541 5.1."""
    if len(value) < 127:
        return bytes([len(value)]) + value
    rest, length = len(value) - 127, bytearray([127])
    while rest >= 128:
        length.append(rest % 128 + 128)
        rest //= 128
    return bytes(length) + bytes([rest]) + value


class Wire:
    """A connection that has sent its preface and `settings` (id -> value)."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self.writer = writer
        self.frames: list[Frame] = []

    @classmethod
    @asynccontextmanager
    async def open(
        cls, address: str, *, settings: Sequence[tuple[int, int]] = ()
    ) -> AsyncIterator[Wire]:
        """Connect to `host:port`; the connection is torn down at the end. The peer may not
        abbreviate header fields (no dynamic table)."""
        host, _, port = address.rpartition(":")
        reader, writer = await asyncio.open_connection(host, int(port))
        wire = cls(reader, writer)
        given = b"".join(struct.pack(">HI", key, value) for key, value in ((1, 0), *settings))
        wire.send(PREFACE, frame(SETTINGS, 0, 0, given))
        try:
            yield wire
        finally:
            writer.transport.abort()

    def send(self, *parts: bytes) -> None:
        """Write without waiting; what the server refuses to read is held by this process."""
        self.writer.write(b"".join(parts))

    async def flushed(self) -> bool:
        """Whether all of it was taken; False when the server hung up, or reads no more."""
        try:
            async with asyncio.timeout(_SECONDS):
                await self.writer.drain()
        except (ConnectionError, TimeoutError):
            return False
        return not self.writer.is_closing()

    @staticmethod
    def _ended(found: Frame, stream: int) -> bool:
        ended = found.kind in {DATA, HEADERS} and found.flags & END_STREAM
        return found.stream == stream and bool(ended or found.kind == RST_STREAM)

    async def next(self) -> Frame | None:
        """The next frame; None at the end of the connection."""
        try:
            async with asyncio.timeout(_SECONDS):
                head = await self._reader.readexactly(9)
                size = int.from_bytes(head[:3], "big")
                payload = await self._reader.readexactly(size)
        except (asyncio.IncompleteReadError, ConnectionError):
            return None
        found = Frame(head[3], head[4], int.from_bytes(head[5:], "big"), payload)
        self.frames.append(found)
        return found

    async def until_end_of(self, stream: int) -> list[Frame]:
        """The frames of the stream, up to its end or that of the connection."""
        while not any(self._ended(each, stream) for each in self.frames):
            if await self.next() is None:
                break
        return [each for each in self.frames if each.stream == stream]
