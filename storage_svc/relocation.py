"""Moving a project's objects to the prefix of its present home.

Per object, each step repeatable, so that a relocation that is cut off anywhere
goes on from what records and store say:

1. lease the target: if nothing names it in the end, it is removed again;
2. copy, create-only; lease again, then read size and SHA-256 back;
3. count the file in the new home;
4. lease the source: it is removed when its URLs have ended and nothing names it;
5. switch: project_svc has the records name the copy, by a conditional write;
6. count the file in the old home no longer.

Bytes are never in fewer than one place that records name. Uploads go to the
present home all the time; one that was announced before the move completes
under the old prefix and is moved by the next pass.
"""

from __future__ import annotations

import asyncio
import logging
from weakref import WeakValueDictionary

import grpc.aio
from google.protobuf.any_pb2 import Any as AnyMessage
from google.rpc.error_details_pb2 import ErrorInfo
from google.rpc.status_pb2 import Status
from workspace.project.v1.document_service_pb2 import ProjectFile
from workspace.storage.v1.relocation_pb2 import RelocationStatus

from services.kernel import Kernel
from services.model.errors import Reason, WorkspaceError
from services.model.paths import Home, parse_storage_key
from services.rpc.context import set_current_call
from services.rpc.errors import peer_status, to_status
from storage_svc.digests import digest_of
from storage_svc.gate import ProjectGate, reason_of
from storage_svc.old_objects import OldObjects
from storage_svc.relocation_rows import RelocationRows, State, has_ended
from storage_svc.upload_rows import moment
from storage_svc.usage import Ledger

__all__ = ["DUE_KIND", "Relocator", "outside"]

DUE_KIND = "relocation"
LOOK_SECONDS = 30
_SWITCH_SECONDS = 60
_FAILURES = 100
_PASSES = 20
_AGAIN = frozenset(
    {
        Reason.ERROR_REASON_BACKEND_UNAVAILABLE,
        Reason.ERROR_REASON_CONFLICTING_WRITE,
        Reason.ERROR_REASON_STORAGE_FULL,
    }
)
"""Reasons that another try may cure; UNSPECIFIED is a call that was cut off."""
_LOG = logging.getLogger("workspace.storage.relocation")


class _Gone(Exception):
    """Retention has removed the bytes of a file that nothing promises."""


def outside(files: list[ProjectFile], prefix: str) -> list[ProjectFile]:
    """The files that do not lie under the prefix."""
    return [file for file in files if not file.file.storage_key.startswith(prefix)]


def home_of_prefix(prefix: str) -> Home:
    """`accounts/a/projects/p/` -> the home."""
    kind, home_id = prefix.split("/")[:2]
    return Home(kind, home_id)


class Relocator:
    """Drives relocations. Passes of one project take turns in a process; two
    processes at once disturb each other's counts, never a file."""

    def __init__(
        self, *, kernel: Kernel, gate: ProjectGate, ledger: Ledger, old: OldObjects
    ) -> None:
        self._kernel = kernel
        self._objects = kernel.objects
        self._gate = gate
        self._ledger = ledger
        self._old = old
        self._rows = RelocationRows(kernel.records)
        self._turns: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()
        self._wanted: asyncio.Queue[str] = asyncio.Queue()

    def start_soon(self, project_id: str) -> None:
        """Have `run` go on with a relocation at once."""
        self._wanted.put_nowait(project_id)

    async def run(self) -> None:
        """Relocate what `start_soon` names, until cancelled. What fails or is
        cut off here is due work."""
        set_current_call(None)
        while True:
            project_id = await self._wanted.get()
            try:
                await self.advance(project_id)
            except Exception:
                _LOG.exception("a relocation was interrupted; it goes on as due work")

    async def look(self, project_id: str) -> float | None:
        """Due work: go on; when to look again, None when it has ended."""
        set_current_call(None)
        turn = self._turns.get(project_id)
        if turn is not None and turn.locked():
            return self._kernel.now() + LOOK_SECONDS
        await self.advance(project_id)
        state = await self._rows.load(project_id)
        if state is None or has_ended(state.relocation):
            return None
        return self._kernel.now() + LOOK_SECONDS

    async def advance(self, project_id: str) -> None:
        """Move what is to be moved, until nothing is left or nothing moves."""
        turn = self._turns.setdefault(project_id, asyncio.Lock())
        async with turn:
            state = await self._rows.load(project_id)
            if state is None or has_ended(state.relocation):
                return
            failed: set[str] = set()
            _forget_failures(state)
            for _ in range(_PASSES):
                listed = await self._gate.files(project_id)
                left = outside(listed.files, listed.prefix)
                left = [file for file in left if file.file.storage_key not in failed]
                _count(state, left, listed.prefix)
                if not left:
                    await self._end(state)
                    return
                if not await self._rows.save(state):
                    return  # another process is at it
                if not await self._pass(state, left, failed):
                    return

    async def _pass(self, state: State, files: list[ProjectFile], failed: set[str]) -> bool:
        """One file after the other; False when it must go on later."""
        home = home_of_prefix(state.relocation.target_prefix)
        for file in files:
            try:
                await self._move(file, home)
            except _Gone:
                failed.add(file.file.storage_key)
                state.relocation.objects_planned -= 1
                state.relocation.bytes_planned -= file.file.size_bytes
            except (WorkspaceError, grpc.aio.AioRpcError) as error:
                if _may_heal(error):
                    _LOG.warning("a relocation waits: %s", _word(error))
                    return False
                failed.add(file.file.storage_key)
                _note_failure(state, file, error)
            else:
                state.relocation.objects_done += 1
                state.relocation.bytes_done += file.file.size_bytes
            if not await self._rows.save(state):
                return False
        return True

    async def _move(self, file: ProjectFile, home: Home) -> None:
        """The steps of the module. Raises _Gone, OBJECT_CORRUPT and what the
        store and project_svc raise."""
        source = file.file.storage_key
        target = str(parse_storage_key(source).rehomed(home))
        await self._old.lease(target)
        await self._copy(file, target)
        await self._old.lease(target)
        await self._verify(file, target)
        await self._ledger.place(target, file.file.size_bytes)
        await self._old.lease(source)
        async with asyncio.timeout(_SWITCH_SECONDS):
            await self._gate.move_key(file, target)
        await self._ledger.remove(source)

    async def _copy(self, file: ProjectFile, target: str) -> None:
        try:
            await self._objects.copy(file.file.storage_key, target)
        except WorkspaceError as error:
            if error.reason == Reason.ERROR_REASON_NOT_FOUND and not file.promised:
                raise _Gone from None
            raise

    async def _verify(self, file: ProjectFile, target: str) -> None:
        """Raises OBJECT_CORRUPT unless the copy is the recorded file."""
        info = await self._objects.head(target)
        sha256 = await digest_of(self._objects, info)
        if (info.size, sha256) != (file.file.size_bytes, file.file.sha256):
            raise WorkspaceError(
                Reason.ERROR_REASON_OBJECT_CORRUPT,
                "the stored bytes are not those recorded; the file stays where it is. Restore "
                "the object from a backup and relocate again",
                metadata={"storage_key": file.file.storage_key},
            )

    async def _end(self, state: State) -> None:
        failed = state.relocation.objects_failed
        state.relocation.status = (
            RelocationStatus.RELOCATION_STATUS_FAILED
            if failed
            else RelocationStatus.RELOCATION_STATUS_SUCCEEDED
        )
        state.relocation.finished_at.CopyFrom(moment(self._kernel.now()))
        await self._rows.save(state)


def _count(state: State, left: list[ProjectFile], prefix: str) -> None:
    """Bring the counts in line with what is left: what a crash did not note is
    counted as moved, what came since is planned."""
    relocation, size = state.relocation, sum(file.file.size_bytes for file in left)
    if relocation.target_prefix != prefix:  # moved on to yet another home
        relocation.target_prefix = prefix
        relocation.objects_done = relocation.bytes_done = 0
        relocation.objects_planned = relocation.bytes_planned = 0
    failed = relocation.objects_failed
    done = max(relocation.objects_done, relocation.objects_planned - failed - len(left))
    relocation.objects_done = done
    relocation.objects_planned = done + failed + len(left)
    if not failed:
        relocation.bytes_done = max(relocation.bytes_done, relocation.bytes_planned - size)
        relocation.bytes_planned = relocation.bytes_done + size
    relocation.status = RelocationStatus.RELOCATION_STATUS_RUNNING


def _forget_failures(state: State) -> None:
    """They are tried again."""
    state.relocation.objects_failed = 0
    del state.relocation.failures[:]


def _note_failure(state: State, file: ProjectFile, error: Exception) -> None:
    relocation = state.relocation
    relocation.objects_failed += 1
    if len(relocation.failures) < _FAILURES:
        relocation.failures.add(
            document_id=file.document_id,
            storage_key=file.file.storage_key,
            error=_kept(to_status(error, relocation.relocation_id)),
        )


def _kept(status: Status) -> Status:
    """Code, text and reason; other details are of one moment only."""
    kept = Status(code=status.code, message=status.message)
    for detail in status.details:
        if detail.TypeName() == ErrorInfo.DESCRIPTOR.full_name:
            copy = AnyMessage()
            copy.CopyFrom(detail)
            kept.details.append(copy)
    return kept


def _may_heal(error: WorkspaceError | grpc.aio.AioRpcError) -> bool:
    if isinstance(error, WorkspaceError):
        return error.reason in _AGAIN
    return peer_status(error) is None or reason_of(error) in (0, *_AGAIN)


def _word(error: WorkspaceError | grpc.aio.AioRpcError) -> str:
    """Codes only: messages of peers are not for logs."""
    if isinstance(error, WorkspaceError):
        return Reason.Name(error.reason)
    return str(error.code().name)
