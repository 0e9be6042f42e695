"""Why an incoming record is kept aside."""

from __future__ import annotations

from dataclasses import dataclass

from workspace.sync.v1.quarantine_pb2 import QuarantineReason

from services.model.errors import Reason, WorkspaceError

__all__ = ["UNSOUND", "LivedTwice", "Refusal", "Refused"]

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
    text holds no value of the record but ids and numbers. `stays`: a push does not
    write over what the surface has either, though our clock covers it."""

    reason: QuarantineReason.ValueType
    message: str
    stays: bool = False


class Refused(Exception):
    """Carries a refusal out of a check."""

    def __init__(self, reason: QuarantineReason.ValueType, message: str) -> None:
        super().__init__(message)
        self.refusal = Refusal(reason, message)


class LivedTwice(WorkspaceError):
    """This workspace got a new incarnation in the middle of a run, which has to begin
    again: the surface has versions of the former one that were not made here."""

    def __init__(self) -> None:
        super().__init__(
            Reason.ERROR_REASON_CONFLICTING_WRITE,
            "a copy of this workspace wrote in its name, and it goes on under another one; "
            "push or pull again",
            retry_after=0.1,
        )
