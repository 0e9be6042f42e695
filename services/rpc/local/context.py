"""The servicer context of an in-process call (grpc.aio semantics)."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from typing import Any, Never

import grpc
import grpc.aio

from services.rpc.local.exchange import Exchange
from services.rpc.local.metadata import checked
from services.rpc.propagation import Metadatum

__all__ = ["LocalContext", "MessageTooLargeError", "RequestIterator"]


class MessageTooLargeError(Exception):
    """A message went over the limit of the server."""


class LocalContext(grpc.aio.ServicerContext[Any, Any]):
    """What a handler knows and decides about its call."""

    def __init__(self, exchange: Exchange, *, max_send: int) -> None:
        self._exchange = exchange
        self._max_send = max_send
        self._code: grpc.StatusCode | None = None
        self._details = ""
        self._trailing: tuple[Metadatum, ...] = ()
        self._callbacks: list[Callable[[Any], None]] = []
        self.aborted: grpc.aio.AbortError | None = None
        self.ended = False
        self.deserializer: Callable[[bytes], Any] | None = None
        self.serializer: Callable[[Any], bytes] | None = None

    # Messages

    async def read(self) -> Any:
        """The next request; `grpc.aio.EOF` when the client has sent its last."""
        if self._exchange.requests is None:
            raise grpc.aio.UsageError("the request of this method is not a stream")
        raw = await self._exchange.requests.get()
        if raw is None:
            return grpc.aio.EOF
        return self.deserializer(raw) if self.deserializer else raw

    async def write(self, message: Any) -> None:
        """Send one response; waits while the client has one to read."""
        if self._exchange.responses is None:
            raise grpc.aio.UsageError("the response of this method is not a stream")
        if self.aborted is not None:
            raise self.aborted
        await self.send_initial_if_needed()
        await self._exchange.responses.put(self.encode(message))

    def encode(self, message: Any) -> bytes:
        """Serialise a response. Raises MessageTooLargeError."""
        raw: bytes = self.serializer(message) if self.serializer else message
        if len(raw) > self._max_send:
            raise MessageTooLargeError(
                f"Sent message larger than max ({len(raw)} vs. {self._max_send})"
            )
        return raw

    # Metadata

    async def send_initial_metadata(self, initial_metadata: Any) -> None:
        if self._exchange.initial is not None:
            raise grpc.aio.UsageError("Send initial metadata failed: already sent")
        self._exchange.send_initial(checked(initial_metadata))

    async def send_initial_if_needed(self) -> None:
        if self._exchange.initial is None:
            self._exchange.send_initial(())

    def set_trailing_metadata(self, trailing_metadata: Any) -> None:
        self._trailing = checked(trailing_metadata)

    def trailing_metadata(self) -> Any:
        return self._trailing

    def invocation_metadata(self) -> Any:
        return self._exchange.metadata

    # Status

    async def abort(
        self, code: grpc.StatusCode, details: str = "", trailing_metadata: Any = ()
    ) -> Never:
        """End the call with an error. Always raises `grpc.aio.AbortError`."""
        if self.aborted is not None:
            raise grpc.aio.UsageError("Abort already called!")
        if code is grpc.StatusCode.OK:
            raise ValueError("abort: OK is not an error")
        if trailing_metadata:
            self._trailing = checked(trailing_metadata)
        self._code = code
        self._details = details or self._details
        self.aborted = grpc.aio.AbortError("Locally aborted.")
        raise self.aborted

    async def abort_with_status(self, status: grpc.Status) -> Never:
        await self.abort(status.code, status.details, status.trailing_metadata)

    def set_code(self, code: grpc.StatusCode) -> None:
        self._code = code

    def set_details(self, details: str) -> None:
        self._details = details

    def code(self) -> Any:
        """None until set, like grpc.aio."""
        return self._code

    def details(self) -> str:
        return self._details

    # Compression means nothing in one process.

    def set_compression(self, compression: grpc.Compression) -> None:
        del compression

    def disable_next_message_compression(self) -> None:
        return None

    # The peer

    def peer(self) -> str:
        return f"local:{self._exchange.service}"

    def peer_identity_key(self) -> str | None:
        return "workspace_service" if self._exchange.service else None

    def peer_identities(self) -> Iterable[bytes] | None:
        return [self._exchange.service.encode()] if self._exchange.service else None

    def auth_context(self) -> Mapping[str, Iterable[bytes]]:
        """Set by the channel object, so no metadata can forge it."""
        context: dict[str, Iterable[bytes]] = {"transport_security_type": [b"local"]}
        if self._exchange.service:
            context["workspace_service"] = [self._exchange.service.encode()]
        return context

    # Life of the call

    def time_remaining(self) -> Any:
        return self._exchange.remaining()

    def cancelled(self) -> bool:
        return self._exchange.cancelled

    def done(self) -> bool:
        return self.ended or self._exchange.code is not None

    def add_done_callback(self, callback: Any) -> None:
        if self.ended:
            callback(self)
        else:
            self._callbacks.append(callback)

    def end(self) -> None:
        """Run the done callbacks."""
        self.ended = True
        callbacks, self._callbacks = self._callbacks, []
        for callback in callbacks:
            callback(self)


class RequestIterator(AsyncIterator[Any]):
    """The request stream that a handler iterates."""

    __slots__ = ("_context",)

    def __init__(self, context: LocalContext) -> None:
        self._context = context

    def __aiter__(self) -> RequestIterator:
        return self

    async def __anext__(self) -> Any:
        message = await self._context.read()
        if message is grpc.aio.EOF:
            raise StopAsyncIteration
        return message
