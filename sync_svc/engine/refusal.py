"""Why an incoming record is kept aside."""

from __future__ import annotations

from dataclasses import dataclass

from workspace.sync.v1.quarantine_pb2 import QuarantineReason

__all__ = ["UNSOUND", "Refusal", "Refused"]

UNSOUND = frozenset(
    {
        QuarantineReason.QUARANTINE_REASON_NO_VERSION,
        QuarantineReason.QUARANTINE_REASON_COUNTER_RANGE,
        QuarantineReason.QUARANTINE_REASON_KEY_MISMATCH,
        QuarantineReason.QUARANTINE_REASON_FOREIGN_STORAGE_KEY,
        QuarantineReason.QUARANTINE_REASON_DIGEST_MISMATCH,
        QuarantineReason.QUARANTINE_REASON_TOO_LARGE,
        QuarantineReason.QUARANTINE_REASON_SCHEMA_UNKNOWN,
        QuarantineReason.QUARANTINE_REASON_INVALID,
    }
)
"""Reasons for which not even the versions of a record can be believed. With the
others the record is whole, and only too early, too many or from another life."""


@dataclass(frozen=True, slots=True)
class Refusal:
    """A reason of `workspace.sync.v1.QuarantineReason` and a text for people; the
    text holds no value of the record but ids and numbers."""

    reason: QuarantineReason.ValueType
    message: str


class Refused(Exception):
    """Carries a refusal out of a check."""

    def __init__(self, reason: QuarantineReason.ValueType, message: str) -> None:
        super().__init__(message)
        self.refusal = Refusal(reason, message)
