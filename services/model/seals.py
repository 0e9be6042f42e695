"""What seals activity events: each names the link of the one before, HEAD the last link.

A link is `{sequence}:{hash}`. Its hash is SHA-256 over the partition, the key, the sequence
number and the link before, and over the digest of the event's canonical text. That text has
a random nonce in it: when erasure takes a person out of the event, the nonce goes and the
digest stays (`sealed_digest`), so that the chain holds and nobody can find out by guessing
what was taken out. Everything is separated by domain (RFC 6962 has the reason).

A chain begins with an opening, a link of HEAD as it was: of nothing, or of the last event of a
release that did not seal.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Any, Final, Self

from workspace.common.v1.activity_pb2 import ActivityEvent

from services.model.canonical import canonical_json

__all__ = [
    "SEAL", "Checkpoint", "Link", "link_of", "opening", "sealed_digest", "take_off",
    "without_nonce",
]  # fmt: skip

SEAL: Final = ("previous_link", "seal_nonce", "sealed_digest")
"""The members of an event that seal it. Who is not shown all of the event may not have
them: with nonce and link he could tell whether he guessed the rest."""

_EVENT = "workspace.activity.event.1"
_LINK = "workspace.activity.link.1"
_OPENING = "workspace.activity.opening.1"
_CHECKPOINT = "activity-1"


@dataclass(frozen=True, slots=True)
class Link:
    """`sequence` is that of the event, `hash` lower-hex SHA-256."""

    sequence: int
    hash: str

    def dump(self) -> str:
        return f"{self.sequence}:{self.hash}"

    @classmethod
    def load(cls, text: str) -> Self:
        """Inverse of `dump`. Raises ValueError for anything else."""
        number, colon, digest = text.partition(":")
        if not (colon and _is_number(number)):
            raise ValueError("not a link")
        if len(digest) != 64 or not set(digest) <= set("0123456789abcdef"):
            raise ValueError("not a link")
        return cls(int(number), digest)


def opening(pk: str, sequence: int, commit_id: str) -> Link:
    """Stands before the first sealed event: HEAD of `pk` as it was then."""
    return Link(sequence, _hash(_OPENING, pk, sequence, commit_id))


def link_of(pk: str, sk: str, *, sequence: int, previous: str, digest: str) -> Link:
    """The link that the event in the row (`pk`, `sk`) makes; `digest`: see
    `sealed_digest`."""
    return Link(sequence, _hash(_LINK, pk, sk, sequence, previous, digest))


def sealed_digest(body: str) -> str:
    """Of an event's canonical text, its nonce included."""
    return hashlib.sha256(f"{_EVENT}\n{body}".encode()).hexdigest()


def without_nonce(body: str, members: dict[str, Any]) -> dict[str, Any]:
    """`members`, made of the event `body` by erasure, with what its chain still needs.
    Nothing changes for an event without a seal, or the second time."""
    if "seal_nonce" not in members:
        return members
    kept = {name: value for name, value in members.items() if name != "seal_nonce"}
    return kept | {"sealed_digest": sealed_digest(body)}


def take_off(event: ActivityEvent) -> None:
    """Clear the seal of a copy that is to be shown."""
    for name in SEAL:
        event.ClearField(name)


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """HEAD of a partition of one store (`instance`) at a time (RFC 3339), kept elsewhere."""

    pk: str
    instance: str
    sequence: int
    link: Link
    taken_at: str

    def dump(self) -> str:
        """One line of text without control characters."""
        parts = (_CHECKPOINT, self.pk, self.instance, self.sequence, self.link.dump())
        return " ".join((*map(str, parts), self.taken_at))

    @classmethod
    def load(cls, text: str) -> Self:
        """Inverse of `dump`. Raises ValueError for anything else."""
        parts = text.split(" ")
        if len(parts) != 6 or parts[0] != _CHECKPOINT or not _is_number(parts[3]):
            raise ValueError("not a checkpoint of activity")
        return cls(parts[1], parts[2], int(parts[3]), Link.load(parts[4]), parts[5])


def _is_number(text: str) -> bool:
    return text.isascii() and text.isdigit() and len(text) < 16


def _hash(*parts: str | int) -> str:
    return hashlib.sha256(canonical_json(list(parts)).encode()).hexdigest()
