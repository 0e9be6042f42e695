"""What is kept of a mail until it is sent: of what it tells, and whom.

Ids and plain words only. Names and addresses are read when it is sent: they may
have changed, and what a person may see may have changed, too.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from services.model.ids import email_hash

__all__ = ["MANAGER", "OF_ADDRESS", "PERSON", "ROUTED", "Letter", "address_key"]

PERSON: Final = "person"
MANAGER: Final = "manager"
ROUTED: Final = "routed"
"""Why somebody is written to, the strongest reason first: it is about him, he
manages what it is about, the account routes the topic to him."""

OF_ADDRESS: Final = "address-"
"""Begins the recipient of a mail to an address that need not be a user's."""


@dataclass(frozen=True, slots=True)
class Letter:
    """One notice to one recipient: a user id, or `address_key`. `about` has what
    its `kind` needs (facts.py)."""

    recipient: str
    kind: str
    topic: str
    why: str = PERSON
    about: Mapping[str, str] = field(default_factory=dict)

    def mail_id(self, source_id: str) -> str:
        """The same for the same letter about the same event, always."""
        parts = [source_id, self.recipient, self.kind, json.dumps(self.about, sort_keys=True)]
        return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:40]

    def dump(self) -> dict[str, object]:
        return {
            "recipient": self.recipient, "kind": self.kind, "topic": self.topic,
            "why": self.why, "about": dict(self.about),
        }  # fmt: skip

    @classmethod
    def load(cls, row: Mapping[str, object]) -> Letter:
        """Inverse of `dump`; other members are passed over."""
        words = {name: str(row[name]) for name in ("recipient", "kind", "topic", "why")}
        about = row["about"]
        assert isinstance(about, dict)
        return cls(**words, about=about)


def address_key(email: str) -> str:
    """The recipient for an address: its hash, so that keys have no addresses."""
    return OF_ADDRESS + email_hash(email)
