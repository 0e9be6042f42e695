"""What an outgoing call inherits from the call being served: time, bearer, trace, request id.

gRPC propagates neither deadlines nor metadata in Python (style.md 4.3), so
every channel to a peer, socket or in-process, asks `outgoing` for them.
"""

from __future__ import annotations

import time
from collections.abc import Iterable

from services.rpc.context import current_call
from services.telemetry.traces import trace_headers

__all__ = ["STREAM_TIMEOUT", "UNARY_TIMEOUT", "Metadatum", "outgoing"]

Metadatum = tuple[str, str | bytes]

UNARY_TIMEOUT = 10.0
"""Seconds an outgoing unary call gets when nobody said otherwise."""
STREAM_TIMEOUT = 900.0
"""Seconds an outgoing streaming call gets when nobody said otherwise."""

# grpc.aio takes a timeout of exactly 0 for "none"; below 0 fails at once.
_EXPIRED = -1.0


def outgoing(
    timeout: float | None, metadata: Iterable[Metadatum] | None, *, default: float
) -> tuple[float, tuple[Metadatum, ...]]:
    """Timeout in seconds, min(own, remaining), and metadata of an outgoing call.

    `default` stands in for an absent timeout. What the caller set explicitly
    (`authorization`, `x-request-id`) is kept.
    """
    own = default if timeout is None else timeout
    entries: tuple[Metadatum, ...] = tuple(metadata) if metadata else ()
    try:
        call = current_call()
    except LookupError:
        return own, entries
    remaining = min(own, call.deadline - time.monotonic())
    keys = {key for key, _ in entries}
    if call.bearer and "authorization" not in keys:
        entries += (("authorization", f"Bearer {call.bearer}"),)
    entries += tuple(entry for entry in trace_headers() if entry[0] not in keys)
    if call.request_id and "x-request-id" not in keys:
        entries += (("x-request-id", call.request_id),)
    return (remaining if remaining > 0 else _EXPIRED), entries
