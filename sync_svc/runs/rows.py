"""Reads and writes runs: the record, its progress row, and the claim of a connection.

A run is three things. Its record has what is decided: that it was asked for, that
it shall stop, how it ended; each change is a commit with an activity event. Its
progress row is rewritten every few seconds while it is at work; it is no version
of the record, so that an etag of a run at work stays good. The claim
`SYNC#{connection_id}` / `RUN` names the one run that has the connection.
"""

from __future__ import annotations

import json
import secrets
from collections.abc import Callable, Sequence

from google.protobuf.json_format import MessageToDict, ParseDict
from google.protobuf.timestamp_pb2 import Timestamp
from workspace.sync.v1.run_pb2 import Progress, Run

from services.model.errors import Reason, WorkspaceError
from services.model.families import FAMILIES
from services.records.port import ABSENT, Condition, ConditionFailed, Item, Key, Match, Put
from services.records.record import Activity, Record, Write
from services.records.store import RecordStore
from sync_svc.runs.states import has_ended, run_key, run_pk, with_progress

__all__ = ["RUN", "RunRows", "moment"]

RUN = FAMILIES["sync_run"]
_TRIES = 10
_BEING_MADE_SECONDS = 60
_GONE_SECONDS = 3600


def moment(seconds: float) -> Timestamp:
    """Unix seconds as a timestamp of whole microseconds."""
    return Timestamp(seconds=int(seconds), nanos=int(seconds % 1 * 1_000_000) * 1000)


class RunRows:
    """See the module. `now` is unix seconds. There is one in a process: on a store that
    one process owns alone, a claim of another one that no run followed is that of a
    process that died, and holds nobody up."""

    def __init__(self, records: RecordStore, *, now: Callable[[], float]) -> None:
        self._records = records
        self._now = now
        self._process = secrets.token_hex(8)

    async def get(self, run_id: str) -> Record[Run] | None:
        """The record of a run."""
        return await self._records.get(RUN, run_key(run_id))

    async def shown(self, records: Sequence[Record[Run]]) -> list[Progress]:
        """Runs as callers see them, in order; `Progress.run` has the etag."""
        working = [each for each in records if not has_ended(each.message)]
        found: dict[str, Progress] = {}
        for each in working:
            item = await self._records.get_row(_progress_key(each.message.run_id))
            if item is not None and not item.deleted:
                found[each.message.run_id] = _loaded(item)
        return [
            with_progress(each.shown(), found.get(each.message.run_id)) for each in records
        ]

    async def change(
        self, run_id: str, edit: Callable[[Run], bool], activity: Activity,
        *, expires_at: int | None = None,
    ) -> Record[Run] | None:
        """Commit what `edit` changes (False: nothing), from background work. The
        record as it is then; None when there is no such run."""
        for _ in range(_TRIES):
            record = await self.get(run_id)
            if record is None:
                return None
            run = record.edit()
            if not edit(run):
                return record
            run.updated_at.CopyFrom(moment(self._now()))
            write = Write(RUN, run, base=record, expires_at=expires_at)
            try:
                await self._records.commit(run_pk(run_id), [write], activity=activity)
            except WorkspaceError as error:
                if error.reason != Reason.ERROR_REASON_ETAG_MISMATCH:
                    raise
            else:
                return await self.get(run_id)
        raise WorkspaceError(
            Reason.ERROR_REASON_CONFLICTING_WRITE, "the run changes all the time; repeat the call"
        )

    async def load_progress(self, run_id: str) -> Progress | None:
        """How far it was when it was last written down."""
        item = await self._records.get_row(_progress_key(run_id))
        return _loaded(item) if item is not None and not item.deleted else None

    async def save_progress(self, run_id: str, progress: Progress) -> None:
        """Write down how far it is. Who loses a race has lost its lease, too."""
        item = await self._records.get_row(_progress_key(run_id))
        body = json.dumps(MessageToDict(progress, preserving_proto_field_name=True))
        if item is not None and item.body == body:
            return
        await self._put(_progress_key(run_id), item, "run_progress", body)

    async def drop_progress(self, run_id: str) -> None:
        """The record says it all now."""
        item = await self._records.get_row(_progress_key(run_id))
        if item is None or item.deleted:
            return
        gone = Put(
            item.key, Match(item.token), item.family, item.body, deleted=True,
            expires_at=int(self._now()) + _GONE_SECONDS,
        )
        try:
            await self._records.put_row(gone)
        except ConditionFailed:
            return

    async def claimed_by(self, connection_id: str) -> str:
        """The run that has the connection and has not ended; '' when none."""
        item = await self._records.get_row(_claim_key(connection_id))
        return await self._holder(item)

    async def claims(self, connection_ids: Sequence[str]) -> list[str]:
        """Runs that the claims of these connections name, ended ones, too."""
        named: list[str] = []
        for connection_id in connection_ids:
            item = await self._records.get_row(_claim_key(connection_id))
            named += [_run_in(item)] if _run_in(item) else []
        return named

    async def claim(self, connection_id: str, run_id: str) -> None:
        """Take the connection for a run. Raises RUN_ACTIVE naming the run that has it."""
        key = _claim_key(connection_id)
        for _ in range(_TRIES):
            item = await self._records.get_row(key)
            if _run_in(item) == run_id:
                return
            if holder := await self._holder(item):
                raise run_active(holder)
            body = json.dumps({"run_id": run_id, "at": self._now(), "by": self._process})
            if await self._put(key, item, "run_claim", body):
                return
        raise WorkspaceError(
            Reason.ERROR_REASON_CONFLICTING_WRITE,
            "other runs of this connection start at the same time; repeat the call",
        )

    async def release(self, connection_id: str, run_id: str) -> None:
        """Let other runs have the connection, if this one has it."""
        item = await self._records.get_row(_claim_key(connection_id))
        if item is not None and _run_in(item) == run_id:
            body = json.dumps({"run_id": "", "at": self._now(), "last": run_id})
            await self._put(item.key, item, "run_claim", body)

    async def _holder(self, item: Item | None) -> str:
        """The run a claim stands for: one that has not ended, or is being made."""
        run_id = _run_in(item)
        if not run_id or item is None:
            return ""
        record = await self.get(run_id)
        if record is not None:
            return "" if has_ended(record.message) else run_id
        claim = json.loads(item.body)
        young = self._now() - claim["at"] < _BEING_MADE_SECONDS
        alone = not self._records.driver.capabilities.multi_process
        dead = alone and claim.get("by") != self._process
        return run_id if young and not dead else ""

    async def _put(self, key: Key, item: Item | None, family: str, body: str) -> bool:
        condition: Condition = Match(item.token) if item else ABSENT
        try:
            await self._records.put_row(Put(key, condition, family, body))
        except ConditionFailed:
            return False
        return True


def run_active(run_id: str) -> WorkspaceError:
    """RUN_ACTIVE, and what to do."""
    return WorkspaceError(
        Reason.ERROR_REASON_RUN_ACTIVE,
        f"run {run_id} has this connection; wait for its end (watch it), or cancel it",
        metadata={"run_id": run_id},
    )


def _claim_key(connection_id: str) -> Key:
    return Key(f"SYNC#{connection_id}", "RUN")


def _progress_key(run_id: str) -> Key:
    return Key(run_pk(run_id), "PROGRESS")


def _run_in(item: Item | None) -> str:
    if item is None or item.deleted:
        return ""
    run_id: str = json.loads(item.body)["run_id"]
    return run_id


def _loaded(item: Item) -> Progress:
    return ParseDict(json.loads(item.body), Progress(), ignore_unknown_fields=True)
