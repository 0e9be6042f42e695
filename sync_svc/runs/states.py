"""Runs as they are shown: the record, and what is known of a run that is at work."""

from __future__ import annotations

from google.protobuf.any_pb2 import Any as AnyMessage
from google.rpc.error_details_pb2 import ErrorInfo
from google.rpc.status_pb2 import Status
from workspace.sync.v1.connection_pb2 import Connection, SyncScopeType
from workspace.sync.v1.run_pb2 import Progress, Run, RunCounts, RunStatus

from services.model.errors import Reason, WorkspaceError
from services.records.port import Key
from services.rpc.errors import error_info

__all__ = [
    "ENDED",
    "account_of",
    "has_ended",
    "kept_error",
    "refusal",
    "run_key",
    "run_pk",
    "summed",
    "with_progress",
]

ENDED = frozenset(
    {
        RunStatus.RUN_STATUS_SUCCEEDED,
        RunStatus.RUN_STATUS_SUCCEEDED_WITH_ISSUES,
        RunStatus.RUN_STATUS_FAILED,
        RunStatus.RUN_STATUS_CANCELLED,
    }
)
_LIVE_FIELDS = (
    "phase", "counts", "timings", "instance_id", "node_id", "lease_expires_at", "started_at",
    "updated_at",
)  # fmt: skip
_REFUSALS = frozenset(
    {
        Reason.ERROR_REASON_SURFACE_CHANGED,
        Reason.ERROR_REASON_MASS_CHANGE,
        Reason.ERROR_REASON_INVALID_STATE,
        Reason.ERROR_REASON_RUN_ACTIVE,
        Reason.ERROR_REASON_BACKEND_UNAVAILABLE,
    }
)


def run_pk(run_id: str) -> str:
    """Partition of a run."""
    return f"RUN#{run_id}"


def run_key(run_id: str) -> Key:
    """Key of the record of a run."""
    return Key(run_pk(run_id), "RUN")


def has_ended(run: Run) -> bool:
    """Whether it changes no more."""
    return run.status in ENDED


def with_progress(run: Run, progress: Progress | None) -> Progress:
    """What is shown of a run: a copy of `run`, overlaid while it is at work."""
    shown = Progress(run=run)
    if progress is None or has_ended(run):
        return shown
    live = progress.run
    for name in _LIVE_FIELDS:
        field = Run.DESCRIPTOR.fields_by_name[name]
        if field.is_repeated:
            shown.run.ClearField(name)  # type: ignore[arg-type]
            getattr(shown.run, name).extend(getattr(live, name))
        elif field.message_type is None:
            setattr(shown.run, name, getattr(live, name))
        elif live.HasField(name):  # type: ignore[arg-type]
            getattr(shown.run, name).CopyFrom(getattr(live, name))
    if run.status == RunStatus.RUN_STATUS_QUEUED:
        shown.run.status = RunStatus.RUN_STATUS_RUNNING
    shown.records_per_second = progress.records_per_second
    shown.bytes_per_second = progress.bytes_per_second
    if progress.HasField("remaining"):
        shown.remaining.CopyFrom(progress.remaining)
    return shown


def summed(before: RunCounts, now: RunCounts) -> RunCounts:
    """Counts of a run that went on in another process."""
    total = RunCounts()
    for field in RunCounts.DESCRIPTOR.fields:
        setattr(total, field.name, getattr(before, field.name) + getattr(now, field.name))
    for noun in ("records", "objects", "bytes"):  # what was left is planned anew
        done, planned = f"{noun}_done", f"{noun}_planned"
        left = getattr(now, planned)
        whole = getattr(before, done) + left if left else getattr(before, planned)
        setattr(total, planned, whole)
    return total


def account_of(connection: Connection) -> str:
    """The account whose activity the runs of a connection are; '' for none alone."""
    scope = connection.scope
    alone = scope.type == SyncScopeType.SYNC_SCOPE_TYPE_ACCOUNTS and len(scope.account_ids) == 1
    return scope.account_ids[0] if alone else ""


def kept_error(status: Status) -> Status:
    """Code, text and reason; other details are of one moment only."""
    kept = Status(code=status.code, message=status.message)
    for detail in status.details:
        if detail.TypeName() == ErrorInfo.DESCRIPTOR.full_name:
            copy = AnyMessage()
            copy.CopyFrom(detail)
            kept.details.append(copy)
    return kept


def refusal(run: Run) -> WorkspaceError | None:
    """The error of a run that was turned away before it wrote anything, as Push and
    Pull return it; None for every other run."""
    counts = run.counts
    info = error_info(run.error) if run.HasField("error") else None
    if run.status != RunStatus.RUN_STATUS_FAILED or info is None:
        return None
    if counts.records_written or counts.objects_done or counts.batches:
        return None
    reason = Reason.Value(info.reason)
    if reason not in _REFUSALS:
        return None
    return WorkspaceError(reason, run.error.message, metadata=dict(info.metadata))
