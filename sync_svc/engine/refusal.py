"""Why an incoming record is kept aside."""

from __future__ import annotations

from dataclasses import dataclass

from workspace.sync.v1.quarantine_pb2 import QuarantineReason

__all__ = ["Refusal", "Refused"]


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
