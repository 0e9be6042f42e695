"""Channels to peers: limits, keepalive, balancing, retries, inherited deadline and bearer."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import grpc
import grpc.aio

from services.model.errors import Reason, WorkspaceError, invalid_field
from services.rpc.addresses import is_local
from services.rpc.authentication import SERVICE_HEADER
from services.rpc.health import ACCEPTING
from services.rpc.limits import Limits
from services.rpc.propagation import STREAM_TIMEOUT, UNARY_TIMEOUT, Metadatum, outgoing
from services.rpc.renewing_channel import RenewingChannel
from services.rpc.tls import ClientTls

__all__ = ["PeerChannel", "load_service_config", "open_channel"]

Serializer = Callable[[Any], bytes]
Deserializer = Callable[[bytes], Any]

_BALANCING: list[dict[str, Any]] = [{"round_robin": {}}]
_RETRYABLE = {"UNAVAILABLE"}  # AIP-194; ABORTED is retried one level up


def open_channel(
    target: str,
    *,
    tls: ClientTls | None = None,
    service_config: str = "",
    limits: Limits | None = None,
    unary_timeout: float = UNARY_TIMEOUT,
    stream_timeout: float = STREAM_TIMEOUT,
    asking: str = "",
) -> PeerChannel:
    """A channel to `target` (`dns:///name:port` balances over all addresses).

    `service_config` is the text of `load_service_config`. Replaced files of `tls` are
    followed without a restart. `asking` is the service that calls, where the
    certificate proves several. Raises WorkspaceError without TLS beyond this machine:
    calls carry the bearer of the user.
    """
    if tls is None and not is_local(target):
        raise WorkspaceError(
            Reason.ERROR_REASON_INVALID_STATE,
            f"peer {target}: calls beyond this machine carry credentials and need TLS; "
            "configure the client certificate authority of the peer",
            metadata={"target": target},
        )
    limits = limits or Limits()
    options = limits.channel_options()
    options.append(("grpc.service_config", service_config or load_service_config(())))
    channel: grpc.aio.Channel
    if tls is None:
        channel = grpc.aio.insecure_channel(target, options=options)
    else:
        channel = RenewingChannel(
            tls,
            lambda credentials: grpc.aio.secure_channel(target, credentials, options=options),
            # After that the peer has ended the connection anyway.
            linger=limits.max_connection_age + limits.max_connection_age_grace,
        )
    return PeerChannel(
        channel, unary_timeout=unary_timeout, stream_timeout=stream_timeout, asking=asking
    )


def load_service_config(paths: Iterable[Path], *, follow_health: bool = False) -> str:
    """One gRPC service config of the `*_service_config.json` files, with round_robin.
    With `follow_health` an address is left as soon as it says that it drains (gRFC A17).

    A path that is a directory stands for all such files below it. Raises
    WorkspaceError on text that is not a config, on a `timeout` (it fires early
    and is not sent to the server, style.md 4.3) and on a retry of anything but
    UNAVAILABLE.
    """
    methods: list[dict[str, Any]] = []
    for path in paths:
        files = sorted(path.rglob("*_service_config.json")) if path.is_dir() else [path]
        for file in files:
            methods += _method_configs(file)
    config: dict[str, Any] = {"loadBalancingConfig": _BALANCING, "methodConfig": methods}
    if follow_health:
        config["healthCheckConfig"] = {"serviceName": ACCEPTING}
    return json.dumps(config)


def _method_configs(file: Path) -> list[dict[str, Any]]:
    try:
        configs = json.loads(file.read_text(encoding="utf-8"))["methodConfig"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise invalid_field(file.name, "has to be JSON with a 'methodConfig' list") from error
    for config in configs:
        if "timeout" in config:
            raise invalid_field(f"{file.name}: timeout", "remove it; deadlines are set per call")
        codes = set(config.get("retryPolicy", {}).get("retryableStatusCodes", ()))
        if not codes <= _RETRYABLE:
            raise invalid_field(f"{file.name}: retryableStatusCodes", "only UNAVAILABLE is safe")
    return list(configs)


class PeerChannel(grpc.aio.Channel):
    """A channel whose calls run under min(own, remaining) and forward the bearer
    and the request id of the call being served (see `propagation.outgoing`).

    With `asking` they say which service calls; nobody else can say it for them.
    """

    def __init__(
        self,
        channel: grpc.aio.Channel,
        *,
        unary_timeout: float = UNARY_TIMEOUT,
        stream_timeout: float = STREAM_TIMEOUT,
        asking: str = "",
    ) -> None:
        self._channel = channel
        self._unary = unary_timeout
        self._stream = stream_timeout
        self._claim: tuple[Metadatum, ...] = ((SERVICE_HEADER, asking),) if asking else ()

    async def __aenter__(self) -> Self:
        await self._channel.__aenter__()
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc_val: BaseException | None,
        exc_tb: TracebackType | None,
    ) -> bool | None:
        return await self._channel.__aexit__(exc_type, exc_val, exc_tb)

    async def close(self, grace: float | None = None) -> None:
        await self._channel.close(grace)

    def get_state(self, try_to_connect: bool = False) -> grpc.ChannelConnectivity:
        return self._channel.get_state(try_to_connect)

    async def wait_for_state_change(self, last_observed_state: grpc.ChannelConnectivity) -> None:
        await self._channel.wait_for_state_change(last_observed_state)

    async def channel_ready(self) -> None:
        await self._channel.channel_ready()

    # Generated stubs pass `_registered_method`; it is only a hint and is not
    # part of the public signature, so it goes on as a keyword.

    def unary_unary(
        self,
        method: str,
        request_serializer: Serializer | None = None,
        response_deserializer: Deserializer | None = None,
        **hints: Any,
    ) -> grpc.aio.UnaryUnaryMultiCallable[Any, Any]:
        inner = self._channel.unary_unary(
            method, request_serializer, response_deserializer, **hints
        )
        return _UnaryUnary(inner, self._unary, self._claim)

    def unary_stream(
        self,
        method: str,
        request_serializer: Serializer | None = None,
        response_deserializer: Deserializer | None = None,
        **hints: Any,
    ) -> grpc.aio.UnaryStreamMultiCallable[Any, Any]:
        inner = self._channel.unary_stream(
            method, request_serializer, response_deserializer, **hints
        )
        return _UnaryStream(inner, self._stream, self._claim)

    def stream_unary(
        self,
        method: str,
        request_serializer: Serializer | None = None,
        response_deserializer: Deserializer | None = None,
        **hints: Any,
    ) -> grpc.aio.StreamUnaryMultiCallable[Any, Any]:
        inner = self._channel.stream_unary(
            method, request_serializer, response_deserializer, **hints
        )
        return _StreamUnary(inner, self._stream, self._claim)

    def stream_stream(
        self,
        method: str,
        request_serializer: Serializer | None = None,
        response_deserializer: Deserializer | None = None,
        **hints: Any,
    ) -> grpc.aio.StreamStreamMultiCallable[Any, Any]:
        inner = self._channel.stream_stream(
            method, request_serializer, response_deserializer, **hints
        )
        return _StreamStream(inner, self._stream, self._claim)


class _Outgoing:
    """A method of a stub that asks `outgoing` before it calls."""

    __slots__ = ("_claim", "_default", "_inner")

    def __init__(self, inner: Any, default: float, claim: tuple[Metadatum, ...]) -> None:
        self._inner = inner
        self._default = default
        self._claim = claim

    def _call(self, request: Any, timeout: float | None, metadata: Any, more: Any) -> Any:
        if metadata:  # forwarded for a client, perhaps: it never speaks as a service
            metadata = [entry for entry in metadata if entry[0] != SERVICE_HEADER]
        timeout, entries = outgoing(timeout, metadata, default=self._default)
        return self._inner(request, timeout=timeout, metadata=entries + self._claim, **more)


class _UnaryUnary(_Outgoing, grpc.aio.UnaryUnaryMultiCallable[Any, Any]):
    def __call__(
        self, request: Any, *, timeout: float | None = None, metadata: Any = None, **more: Any
    ) -> Any:
        return self._call(request, timeout, metadata, more)


class _UnaryStream(_Outgoing, grpc.aio.UnaryStreamMultiCallable[Any, Any]):
    def __call__(
        self, request: Any, *, timeout: float | None = None, metadata: Any = None, **more: Any
    ) -> Any:
        return self._call(request, timeout, metadata, more)


class _StreamUnary(_Outgoing, grpc.aio.StreamUnaryMultiCallable[Any, Any]):
    def __call__(
        self,
        request_iterator: Any = None,
        timeout: float | None = None,
        metadata: Any = None,
        credentials: grpc.CallCredentials | None = None,
        wait_for_ready: bool | None = None,
        compression: grpc.Compression | None = None,
    ) -> Any:
        more = _more(credentials, wait_for_ready, compression)
        return self._call(request_iterator, timeout, metadata, more)


class _StreamStream(_Outgoing, grpc.aio.StreamStreamMultiCallable[Any, Any]):
    def __call__(
        self,
        request_iterator: Any = None,
        timeout: float | None = None,
        metadata: Any = None,
        credentials: grpc.CallCredentials | None = None,
        wait_for_ready: bool | None = None,
        compression: grpc.Compression | None = None,
    ) -> Any:
        more = _more(credentials, wait_for_ready, compression)
        return self._call(request_iterator, timeout, metadata, more)


def _more(
    credentials: grpc.CallCredentials | None,
    wait_for_ready: bool | None,
    compression: grpc.Compression | None,
) -> dict[str, Any]:
    return {
        "credentials": credentials,
        "wait_for_ready": wait_for_ready,
        "compression": compression,
    }
