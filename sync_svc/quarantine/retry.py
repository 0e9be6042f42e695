"""RetryQuarantined: what was kept aside is read again from its surface, and goes
through the same screening, objects and joins as in a run."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from typing import Any, Final

from workspace.sync.v1.connection_pb2 import Connection
from workspace.sync.v1.quarantine_pb2 import QuarantinedRecord, QuarantineReason
from workspace.sync.v1.run_pb2 import SyncDirection, SyncOptions
from workspace.sync.v1.sync_service_pb2 import (
    QuarantineRetryResult,
    RetryQuarantinedRequest,
    RetryQuarantinedResponse,
)

from services.kernel import Kernel
from services.model.errors import Reason, WorkspaceError
from services.records.port import Index, Item, Key
from services.records.record import Activity
from services.rpc.context import current_call
from services.rpc.errors import to_status
from sync_svc.engine.applying import Applier
from sync_svc.engine.matching import judge, match
from sync_svc.engine.parts import Parts
from sync_svc.engine.reading import read_rows
from sync_svc.engine.sync_state import SyncStates
from sync_svc.engine.task import Tally, Task
from sync_svc.quarantine.messages import message_of
from sync_svc.quarantine.packing import unpack_rows
from sync_svc.quarantine.rows import OUTGOING, QUARANTINE, Quarantine, by_id
from sync_svc.runs.ports import Connections, OpenPair
from sync_svc.surfaces.surface import Surface

__all__ = ["QuarantineRetry"]

_PULL: Final = SyncDirection.SYNC_DIRECTION_PULL
_PUSH: Final = SyncDirection.SYNC_DIRECTION_PUSH
_REJECTED: Final = QuarantineReason.QUARANTINE_REASON_REJECTED


@dataclass(frozen=True, slots=True)
class _Case:
    """A row that the caller may have tried again."""

    item: Item
    row: Mapping[str, Any]
    connection: Connection

    @property
    def key(self) -> Key:
        """Key of the record."""
        return Key(self.row["pk"], self.row["sk"])

    @property
    def message(self) -> QuarantinedRecord:
        """As it is answered: without its stamp, many fit into one answer."""
        found = message_of(self.item)
        found.ClearField("stamp")
        return found


class QuarantineRetry:
    """The use case. `parts` makes what a run works with."""

    def __init__(
        self,
        *,
        kernel: Kernel,
        connections: Connections,
        open_pair: OpenPair,
        parts: Callable[[Task], Parts],
    ) -> None:
        self._kernel = kernel
        self._connections = connections
        self._open_pair = open_pair
        self._parts = parts

    async def retry(self, request: RetryQuarantinedRequest) -> RetryQuarantinedResponse:
        """One outcome a record, in the order asked. A surface is opened once."""
        mutation = self._kernel.mutations.begin(request)
        pk = f"USER#{current_call().user_id}"
        if done := await mutation.replay(pk, RetryQuarantinedResponse):
            return done
        cases = [await self._case(each) for each in request.quarantine_ids]
        found: dict[str, QuarantineRetryResult] = {}
        for name in sorted({each.connection.connection_id for each in cases if each}):
            part = [each for each in cases if each and each.connection.connection_id == name]
            found |= await self._connection(part)
        results = [
            found.get(each) or _failed(each, _missing(each)) for each in request.quarantine_ids
        ]
        return await mutation.commit(
            pk,
            [],
            activity=Activity("sync.quarantine_retried", f"users/{current_call().user_id}"),
            answer=lambda _: RetryQuarantinedResponse(results=results),
        )

    async def _case(self, quarantine: str) -> _Case | None:
        page = await self._kernel.records.run(
            Index.PROJECT, by_id(quarantine), lower="", upper="~", limit=10, after=None
        )
        for item in page.items:
            if item.family == QUARANTINE and not item.deleted:
                row = json.loads(item.body)
                connection = await self._allowed(row["connection_id"])
                return _Case(item, row, connection) if connection else None
        return None

    async def _allowed(self, connection_id: str) -> Connection | None:
        try:
            return await self._connections.allowed(connection_id)
        except WorkspaceError as error:
            if error.reason != Reason.ERROR_REASON_PERMISSION_DENIED:
                raise
            return None

    async def _connection(self, cases: Sequence[_Case]) -> dict[str, QuarantineRetryResult]:
        """The outcomes for one connection."""
        connection, done = cases[0].connection, dict[str, QuarantineRetryResult]()
        async with AsyncExitStack() as stack:
            try:
                local, remote = await stack.enter_async_context(
                    self._open_pair(connection, tally=Tally(), options=SyncOptions())
                )
                await self._check(self._task(connection, _PULL, local, remote, cases[0]))
            except WorkspaceError as error:
                return {
                    each.row["quarantine_id"]: _failed(each.row["quarantine_id"], error)
                    for each in cases
                }
            for each in cases:
                name = each.row["quarantine_id"]
                try:
                    await self._one(each, local, remote)
                except WorkspaceError as error:
                    done[name] = _failed(name, error)
                else:
                    done[name] = QuarantineRetryResult(quarantine_id=name, applied=each.message)
        return done

    async def _check(self, task: Task) -> None:
        """Nothing is taken from a surface that is not what it was."""
        state = await SyncStates(task.local.records).load(task.connection.connection_id)
        if (await self._parts(task).checks.look(task, state)).full_reconcile:
            raise WorkspaceError(
                Reason.ERROR_REASON_INVALID_STATE,
                "this workspace or the surface was restored; run a push or a pull first",
                metadata={"resource": f"connections/{task.connection.connection_id}"},
            )

    async def _one(self, case: _Case, local: Surface, remote: Surface) -> None:
        """Raises why it still does not apply."""
        reason = QuarantineReason.Value(case.row["reason"])
        ways = [_PUSH] if reason == _REJECTED else [_PULL, _PUSH] if reason in OUTGOING else [_PULL]
        for way in ways:
            await self._apply(self._task(case.connection, way, local, remote, case), case)
        quarantine = Quarantine(local.records, int(self._kernel.now() * 1000))
        for outgoing in (False, True):
            await quarantine.clear(
                case.connection.connection_id, [case.key], outgoing=outgoing
            )

    async def _apply(self, task: Task, case: _Case) -> None:
        rows = await read_rows(task.source.records, [case.key])
        if rows[0].item is None and task.direction == _PULL and case.row["rows"]:
            rows = [unpack_rows(case.row["rows"])]  # gone there: what was kept is tried
        if rows[0].item is None:
            return  # nothing to apply in this direction
        parts = self._parts(task)
        judged = await judge(task, parts.intake, await match(task, rows), preview=False)
        await Applier(task, parts).apply(judged, {case.key: rows[0]})
        if task.tally.counts.quarantined:
            raise await self._still(case)

    async def _still(self, case: _Case) -> WorkspaceError:
        item = await self._kernel.records.get_row(case.item.key)
        row = json.loads(item.body) if item and not item.deleted else case.row
        return WorkspaceError(
            Reason.ERROR_REASON_INVALID_STATE,
            f"it still does not apply: {row['message']}",
            metadata={"resource": f"quarantine/{row['quarantine_id']}"},
        )

    def _task(
        self,
        connection: Connection,
        direction: SyncDirection.ValueType,
        local: Surface,
        remote: Surface,
        case: _Case,
    ) -> Task:
        now = self._kernel.now
        return Task(
            run_id=f"retry-{case.row['quarantine_id'][:32]}-{case.row['attempts']}",
            direction=direction,
            connection=connection,
            options=SyncOptions(),
            local=local,
            remote=remote,
            tally=Tally(),
            now_ms=lambda: int(now() * 1000),
            monotonic=time.monotonic,
            stop=lambda: False,
        )


def _missing(quarantine: str) -> WorkspaceError:
    return WorkspaceError(
        Reason.ERROR_REASON_NOT_FOUND,
        "it is not in quarantine (any more)",
        metadata={"resource": f"quarantine/{quarantine}"},
    )


def _failed(quarantine: str, error: WorkspaceError) -> QuarantineRetryResult:
    status = to_status(error, current_call().request_id)
    return QuarantineRetryResult(quarantine_id=quarantine, error=status)
