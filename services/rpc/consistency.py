"""Consistency tokens: "at least as fresh as this write" (see consistency.proto).

A token names a partition, its sequence number after the write, and the commit
time. It is `base64url(version | tag | pseq | time | pk)`; the tag is an HMAC
under a key bound to the instance, so a token of another instance, an edited one
and garbage are the same error.
"""

from __future__ import annotations

import enum
import hmac
import struct
from collections.abc import Mapping
from dataclasses import dataclass

from workspace.common.v1.consistency_pb2 import Consistency

from services.model import base64url
from services.model.errors import Reason, WorkspaceError

__all__ = [
    "AS_OF_NOW",
    "CLOCK_ALLOWANCE_SECONDS",
    "MINIMIZE_LATENCY",
    "STRONG",
    "ConsistencyToken",
    "ConsistencyTokens",
    "Demand",
    "Level",
]

CLOCK_ALLOWANCE_SECONDS = 2.0
"""How far the clocks of two replicas may be apart."""

_VERSION = b"\x01"
_TAG_BYTES = 16
_NUMBERS = struct.Struct(">QQ")
_MAX_TOKEN = 512  # the bound in consistency.proto


@dataclass(frozen=True, slots=True)
class ConsistencyToken:
    """A write: partition key, its sequence number, commit time in unix milliseconds."""

    pk: str
    pseq: int
    commit_time_ms: int


class Level(enum.Enum):
    """How fresh facts must be (consistency.proto). AS_OF_NOW is for our own
    gates: like FULLY_CONSISTENT, but a cache that is exact may answer."""

    MINIMIZE_LATENCY = "minimize_latency"
    AT_LEAST_AS_FRESH = "at_least_as_fresh"
    FULLY_CONSISTENT = "fully_consistent"
    AS_OF_NOW = "as_of_now"


@dataclass(frozen=True, slots=True)
class Demand:
    """What a reader asks of the facts it is given."""

    level: Level
    tokens: tuple[ConsistencyToken, ...] = ()

    def met_by(self, partitions: Mapping[str, int], read_started_at: float) -> bool:
        """Whether facts of these partition versions, whose strong read began at
        `read_started_at` (unix seconds), are as fresh as all tokens ask: not
        older in the token's own partition, and read later than every clock can
        have said when the token was made."""
        return all(
            partitions.get(token.pk, token.pseq) >= token.pseq
            and read_started_at >= token.commit_time_ms / 1000 + CLOCK_ALLOWANCE_SECONDS
            for token in self.tokens
        )


MINIMIZE_LATENCY = Demand(Level.MINIMIZE_LATENCY)
STRONG = Demand(Level.FULLY_CONSISTENT)
AS_OF_NOW = Demand(Level.AS_OF_NOW)


def _foreign() -> WorkspaceError:
    return WorkspaceError(
        Reason.ERROR_REASON_FOREIGN_CONSISTENCY_TOKEN,
        "consistency: the token was not issued by this instance; ask for fully_consistent instead",
        metadata={"field": "consistency"},
    )


class ConsistencyTokens:
    """Issues and verifies the tokens of one instance. `key`: 32 bytes or more."""

    def __init__(self, key: bytes, instance_id: str) -> None:
        if len(key) < 32 or not instance_id:
            raise ValueError("consistency tokens need a key of 32 bytes or more and an instance id")
        label = b"workspace.consistency_token.v1\0" + instance_id.encode()
        self._key = hmac.digest(key, label, "sha256")

    def issue(self, pk: str, pseq: int, commit_time_ms: int) -> str:
        """The token of a committed write. ValueError when it would exceed 512 bytes."""
        body = _NUMBERS.pack(pseq, commit_time_ms) + pk.encode()
        data = _VERSION + self._tag(body) + body
        token = base64url.encode(data)
        if len(token) > _MAX_TOKEN:
            raise ValueError("the partition key is too long for a consistency token")
        return token

    def verify(self, token: str) -> ConsistencyToken:
        """What the token says. Raises FOREIGN_CONSISTENCY_TOKEN."""
        data = _decode(token)
        tag, body = data[1 : 1 + _TAG_BYTES], data[1 + _TAG_BYTES :]
        known = data[:1] == _VERSION and len(body) >= _NUMBERS.size
        if not known or not hmac.compare_digest(tag, self._tag(body)):
            raise _foreign()
        pseq, commit_time_ms = _NUMBERS.unpack_from(body)
        return ConsistencyToken(body[_NUMBERS.size :].decode(), pseq, commit_time_ms)

    def demand(self, consistency: Consistency) -> Demand:
        """What a request asks for; unset is MINIMIZE_LATENCY. Raises
        FOREIGN_CONSISTENCY_TOKEN."""
        requirement = consistency.WhichOneof("requirement")
        if requirement == "at_least_as_fresh":
            tokens = consistency.at_least_as_fresh.tokens
            return Demand(Level.AT_LEAST_AS_FRESH, tuple(map(self.verify, tokens)))
        # A flag that is set to false asks for nothing.
        if requirement == "fully_consistent" and consistency.fully_consistent:
            return STRONG
        return MINIMIZE_LATENCY

    def _tag(self, body: bytes) -> bytes:
        return hmac.digest(self._key, body, "sha256")[:_TAG_BYTES]


def _decode(token: str) -> bytes:
    if len(token) > _MAX_TOKEN:
        raise _foreign()
    try:
        return base64url.decode(token)
    except ValueError:
        raise _foreign() from None
