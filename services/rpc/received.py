"""A request as it came: bytes, until it is known who sent it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, cast

from google.protobuf.descriptor import Descriptor
from google.protobuf.message import DecodeError, Message

from services.rpc.elements import MAX_ELEMENTS, ElementLimit, not_a_message

__all__ = ["Codec", "Decoder", "Received", "opened"]

Codec = Callable[[bytes], Any]


class Decoder:
    """Counts, then decodes, the requests of one method; `decode` is its own deserializer."""

    def __init__(self, decode: Codec, at_most: int = MAX_ELEMENTS) -> None:
        self._decode = decode
        empty = decode(b"")
        self._limit: ElementLimit | None = None
        if isinstance(empty, Message):
            self._limit = ElementLimit(cast("Descriptor", empty.DESCRIPTOR), at_most)

    def __call__(self, data: bytes) -> Any:
        """The message. Raises INVALID_ARGUMENT: too many elements, or none of this method."""
        if self._limit is not None:
            self._limit.check(data)
        try:
            return self._decode(data)
        except DecodeError:
            raise not_a_message() from None

    def later(self, data: bytes) -> Received:
        """gRPC decodes before any interceptor runs, so before authentication, and would
        tell the client about errors in its own way."""
        return Received(data, self)


class Received:
    """What `Decoder.later` put off."""

    __slots__ = ("_data", "_decoder", "_message")

    def __init__(self, data: bytes, decoder: Decoder) -> None:
        self._data = data
        self._decoder = decoder
        self._message: Any = None

    def message(self) -> Any:
        """Decoded at the first call. Raises as `Decoder`."""
        if self._message is None:
            self._message = self._decoder(self._data)
            self._data = b""
        return self._message


def opened(request: Any) -> Any:
    """The message in what an interceptor was given; streams stay what they are."""
    return request.message() if isinstance(request, Received) else request
