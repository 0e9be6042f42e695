"""What the reasons of a cancelled transaction mean.

The service gives one reason for each action, in order (API reference,
TransactWriteItems, "CancellationReasons"); `None` for those that were in order.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import Enum, auto
from typing import Any

__all__ = ["Outcome", "Verdict", "verdict_of"]

_CONDITION = "ConditionalCheckFailed"
_FULL = "ItemCollectionSizeLimitExceeded"
_PASSING = (
    "TransactionConflict", "ThrottlingError", "ProvisionedThroughputExceeded",
    "RequestLimitExceeded", "InternalServerError",
)  # fmt: skip


class Outcome(Enum):
    """Nothing was written in any case."""

    CONDITION = auto()
    """A condition of the caller's failed."""
    FENCED = auto()
    """The slot of the change feed has a row already."""
    PASSING = auto()
    """Another transaction, or too many requests: the same again may go through."""
    FULL = auto()
    INVALID = auto()
    """The service does not take such a write, or gave no reason that we know."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """`position` is the lowest action of that outcome, `found` the row that it met.
    `fenced`: the slot has a row, whatever else went wrong; its attempt is `mark`."""

    outcome: Outcome
    position: int = 0
    found: Mapping[str, Any] | None = None
    code: str = ""
    fenced: bool = False
    mark: str = ""


def verdict_of(reasons: Sequence[Mapping[str, Any]], puts: int) -> Verdict:
    """The first `puts` actions are the caller's, the one behind them is the feed's."""
    codes = [str(reason.get("Code") or "None") for reason in reasons]
    failed = [at for at, code in enumerate(codes) if code == _CONDITION]
    if failed:
        at = failed[0]
        outcome = Outcome.CONDITION if at < puts else Outcome.FENCED
        return Verdict(
            outcome, at, reasons[at].get("Item"), _CONDITION,
            fenced=failed[-1] >= puts, mark=_mark_of(reasons[puts:]),
        )
    for outcome, known in ((Outcome.PASSING, _PASSING), (Outcome.FULL, (_FULL,))):
        for at, code in enumerate(codes):
            if code in known:
                return Verdict(outcome, at, None, code)
    at = next((at for at, code in enumerate(codes) if code != "None"), 0)
    return Verdict(Outcome.INVALID, at, None, codes[at] if codes else "unknown")


def _mark_of(reasons: Sequence[Mapping[str, Any]]) -> str:
    """The attempt that the row in the slot is of, where the answer has that row."""
    rows = [reason.get("Item") or {} for reason in reasons]
    return next((str(row["mark"]["S"]) for row in rows if "mark" in row), "")
