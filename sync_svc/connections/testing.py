"""TestConnection: opens the surface, probes what a run needs, says what is wrong.

A failed check is an answer. What is not reachable is not asked further: the checks
after it are SKIPPED.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable
from contextlib import AsyncExitStack, suppress
from dataclasses import dataclass, field

from google.rpc.status_pb2 import Status
from workspace.sync.v1.connection_pb2 import CheckOutcome, Connection, ConnectionCheck
from workspace.sync.v1.connection_service_pb2 import (
    TestConnectionRequest,
    TestConnectionResponse,
)

from services.kernel import Kernel
from services.model.errors import Reason, WorkspaceError
from services.records.instance import Instance
from services.records.record import Activity
from services.rpc.errors import to_status
from sync_svc.connections.access import denied
from sync_svc.connections.connections import Connections, surface_instance
from sync_svc.connections.probes import READING, Notable, probes_of
from sync_svc.connections.registry import connection_pk
from sync_svc.surfaces.surface import OpenSurface, Surface

__all__ = ["Report", "Tester", "Testing"]

_log = logging.getLogger("workspace.connections")
_PASSED = CheckOutcome.CHECK_OUTCOME_PASSED
_WARNING = CheckOutcome.CHECK_OUTCOME_WARNING
_FAILED = CheckOutcome.CHECK_OUTCOME_FAILED
_SKIPPED = CheckOutcome.CHECK_OUTCOME_SKIPPED
_PROBE_SECONDS = 8.0
_OPEN_SECONDS = 24.0
_NOT_WRITABLE = (Reason.ERROR_REASON_INVALID_STATE, Reason.ERROR_REASON_STORAGE_FULL)
# What opening refuses is the matter of a later check, by what the error names.
_MATTERS = {
    "format": "format", "schema": "format", "instance_id": "instance",
    "capability": "consistency", "exposure": "encryption",
}  # fmt: skip


@dataclass(slots=True)
class Report:
    """Checks in the order made; `instance` when the surface was reached."""

    checks: list[ConnectionCheck] = field(default_factory=list)
    instance: Instance | None = None

    @property
    def usable(self) -> bool:
        return all(each.outcome != _FAILED for each in self.checks)

    @property
    def changed(self) -> bool:
        """Another surface answered."""
        return any(each.check == "instance" and each.outcome == _FAILED for each in self.checks)

    def add(
        self, name: str, outcome: CheckOutcome.ValueType, *, error: Status | None = None,
        seconds: float = 0.0,
    ) -> None:  # fmt: skip
        self.checks.append(
            ConnectionCheck(
                check=name, outcome=outcome, error=error, duration_us=int(seconds * 1e6)
            )
        )

    def skip_rest(self, names: list[str]) -> None:
        """SKIPPED for those that were not made."""
        made = {each.check for each in self.checks}
        for name in names:
            if name not in made:
                self.add(name, _SKIPPED)


class Tester:
    """Makes the checks. `now` is unix seconds."""

    def __init__(self, *, opening: OpenSurface, now: Callable[[], float]) -> None:
        self._opening = opening
        self._now = now

    async def run(self, connection: Connection, *, read_only: bool) -> Report:
        """Raises nothing that a surface can cause."""
        report = Report()
        names = [name for name in probes_of(connection) if name in READING or not read_only]
        async with AsyncExitStack() as stack:
            began = time.monotonic()
            surface, refused = await self._reach(stack, connection, read_only=read_only)
            if surface is not None:
                report.add("credentials", _PASSED, seconds=time.monotonic() - began)
                possible = [name for name in names if name in READING or refused is None]
                await self._probe(report, surface, connection, possible)
                if refused is not None:
                    _blame_writing(report, refused)
            elif refused is not None:
                _blame(report, refused, time.monotonic() - began)
        report.skip_rest(names)
        return report

    async def _reach(
        self, stack: AsyncExitStack, connection: Connection, *, read_only: bool
    ) -> tuple[Surface | None, WorkspaceError | None]:
        """The surface, and what refused it; both when it can be read, but not written."""
        try:
            return await self._open(stack, connection, read_only=read_only), None
        except Exception as error:
            refused = _readable(error)
        if read_only or refused.reason not in _NOT_WRITABLE:
            return None, refused
        with suppress(Exception):
            return await self._open(stack, connection, read_only=True), refused
        return None, refused

    async def _open(
        self, stack: AsyncExitStack, connection: Connection, *, read_only: bool
    ) -> Surface:
        async with asyncio.timeout(_OPEN_SECONDS):
            return await stack.enter_async_context(
                self._opening(connection, read_only=read_only)
            )

    async def _probe(
        self, report: Report, surface: Surface, connection: Connection, names: list[str]
    ) -> None:
        report.instance = surface.instance
        probes = probes_of(connection)
        for name in names:
            began = time.monotonic()
            outcome, error = _PASSED, None
            try:
                async with asyncio.timeout(_PROBE_SECONDS):
                    await probes[name](surface, connection, self._now())
            except Notable as notable:
                outcome, error = _WARNING, notable.error
            except Exception as failure:
                outcome, error = _FAILED, _readable(failure)
            status = to_status(error, "") if error else None
            report.add(name, outcome, error=status, seconds=time.monotonic() - began)


class Testing:
    """The use case: the checks, what is remembered of them, and the event."""

    def __init__(self, *, kernel: Kernel, connections: Connections, tester: Tester) -> None:
        self._kernel = kernel
        self._connections = connections
        self._tester = tester

    async def test(self, request: TestConnectionRequest) -> TestConnectionResponse:
        found = await self._connections.found(request.connection_id)
        mutation = self._kernel.mutations.begin(request)
        pk = connection_pk(request.connection_id)
        if done := await mutation.replay(pk, TestConnectionResponse):
            return done
        report = await self._tester.run(found.connection, read_only=request.read_only)
        if report.instance is not None:
            later = await self._connections.remember(
                request.connection_id, changed=report.changed, instance=report.instance
            )
            if later is None:  # removed meanwhile
                raise denied(request.connection_id)
            found = later
        answer = TestConnectionResponse(
            connection=found.connection, usable=report.usable, checks=report.checks
        )
        if report.instance is not None:
            answer.instance.CopyFrom(surface_instance(report.instance))
        activity = Activity("connection.tested", f"connections/{request.connection_id}")
        return await mutation.commit(pk, [], activity=activity, answer=lambda _: answer)


def _blame(report: Report, error: WorkspaceError, seconds: float) -> None:
    """Put what opening refused where people look for it."""
    matter = next((_MATTERS[name] for name in error.metadata if name in _MATTERS), "")
    if matter:
        report.add("credentials", _PASSED, seconds=seconds)
    report.add(matter or "credentials", _FAILED, error=to_status(error, ""), seconds=seconds)


def _blame_writing(report: Report, error: WorkspaceError) -> None:
    matter = next((_MATTERS[name] for name in error.metadata if name in _MATTERS), "")
    name = matter or "records_write"
    report.checks[:] = [each for each in report.checks if each.check != name]
    report.add(name, _FAILED, error=to_status(error, ""))


def _readable(error: Exception) -> WorkspaceError:
    if isinstance(error, WorkspaceError):
        return error
    late = isinstance(error, TimeoutError)
    if not late:
        _log.error("the test of a connection broke", exc_info=error)
    text = "does not answer in time" if late else "broke the test; see the server's log"
    return WorkspaceError(
        Reason.ERROR_REASON_BACKEND_UNAVAILABLE, f"the surface {text}",
        metadata={"backend": "surface"},
    )
