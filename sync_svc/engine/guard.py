"""The guard against mass change: it looks at a whole run before its first write.

The design says: "deletes, overwritten winners and versions removed by join: more
than 25 % of a scope or 100 records needs --force". Records are counted once each,
however many versions they lose. Two kinds of change are told apart, because one limit
cannot serve both:

- *Losses*: deletes, what goes into the trash or is purged, several versions that one
  resolution removes. The stricter limit holds: 25 % of the records in scope at the
  target, and never more than 100.
- *Overwrites*: an ordinary edit, that is, the winner is replaced by a successor whose
  author saw it; and a new conflict in which another version is shown, for the one
  before stays beside it. They are overwritten winners, and a program gone wild (or
  ransomware) makes nothing else, so they do count; but a week of ordinary work
  must not need --force, or people would always give it and the guard would be worth
  nothing. Together with the losses they may be 100 records or 25 %, whichever is more.

Records in scope are those that can be changed or deleted: histories (append-only
families) only grow, and would make any share of them small. Creations take nothing away
and are free, so a first push never needs --force. One change always passes.
"""

from __future__ import annotations

from dataclasses import dataclass

from workspace.sync.v1.plan_pb2 import PlanAction, PlanSummary

from services.model.errors import Reason, WorkspaceError
from services.model.families import FAMILIES
from services.records.port import Item, Key
from services.records.progress import Progress
from services.records.store import RecordStore
from sync_svc.engine.operations import Operation
from sync_svc.engine.scope import Scope

__all__ = [
    "ENOUGH_RECORDS",
    "MOST_RECORDS",
    "Count",
    "Verdict",
    "count_records",
    "judged",
    "mass_change",
]

MOST_RECORDS = 100
_SHARE = 4
ENOUGH_RECORDS = _SHARE * MOST_RECORDS
"""Where the share is no stricter than the number."""
_ROWS_A_READ = 1000


@dataclass(frozen=True, slots=True)
class Verdict:
    """`changes` of at most `limit` pass without force."""

    changes: int
    limit: int

    @property
    def passes(self) -> bool:
        return self.changes <= self.limit


class Count:
    """The sum of a plan while it is made."""

    def __init__(self) -> None:
        self.summary = PlanSummary()
        self.losses = 0
        self.overwrites = 0

    def add(self, done: Operation) -> None:
        """Count one line."""
        summary, line = self.summary, done.line
        match line.action:
            case PlanAction.PLAN_ACTION_CREATE:
                summary.creates += 1
            case PlanAction.PLAN_ACTION_UPDATE:
                summary.updates += 1
            case PlanAction.PLAN_ACTION_DELETE:
                summary.deletes += 1
            case PlanAction.PLAN_ACTION_MERGE:
                summary.merges += 1
            case PlanAction.PLAN_ACTION_CONFLICT:
                summary.conflicts += 1
            case PlanAction.PLAN_ACTION_QUARANTINE:
                summary.quarantined += 1
            case PlanAction.PLAN_ACTION_WAIT_FOR_OBJECTS:
                summary.waiting += 1
        summary.versions_removed += done.removed
        summary.objects += line.objects
        summary.bytes += line.bytes
        self.losses += done.is_loss
        self.overwrites += done.is_overwrite

    @property
    def needs_records(self) -> int:
        """How many records at the target must be known to judge: counting further
        changes nothing."""
        if self.losses + self.overwrites > MOST_RECORDS:
            return _SHARE * (self.losses + self.overwrites)
        return _SHARE * min(self.losses, MOST_RECORDS) if self.losses > 1 else 0


def judged(count: Count, records: int) -> Verdict:
    """What the guard says of changes to a target with that many records in scope (or
    at least that many, as far as `needs_records` asks)."""
    strict = Verdict(count.losses, max(1, min(MOST_RECORDS, records // _SHARE)))
    lenient = Verdict(
        count.losses + count.overwrites, max(MOST_RECORDS, records // _SHARE)
    )
    return lenient if strict.passes and not lenient.passes else strict


def mass_change(verdict: Verdict) -> WorkspaceError:
    """The error of a run that the guard stops."""
    return WorkspaceError(
        Reason.ERROR_REASON_MASS_CHANGE,
        f"the run would delete or overwrite {verdict.changes} records of the target; "
        f"{verdict.limit} pass without force. Nothing was written. Look at the plan, "
        "then repeat with force",
        metadata={"count": str(verdict.changes), "limit": str(verdict.limit)},
    )


async def count_records(records: RecordStore, scope: Scope, most: int) -> int:
    """Live records in scope that can be changed, counted up to about `most`."""
    after: Key | None = None
    found = 0
    progress = Progress("rows")
    while found < most:
        items = await records.scan(after, _ROWS_A_READ)
        if not items:
            break
        found += len(await scope.select([item for item in items if _counts(item)]))
        after = items[-1].key
        progress.reached(after, items)
    return found


def _counts(item: Item) -> bool:
    family = FAMILIES.get(item.family)
    if family is None or item.deleted:
        return False
    return family.synced and family.policy != "append_only"
