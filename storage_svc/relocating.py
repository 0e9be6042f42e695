"""RelocateProject: begins a relocation, or attaches to the one that is going on."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator

from workspace.common.v1.permission_pb2 import Permission
from workspace.project.v1.project_pb2 import Project, ProjectStatus
from workspace.storage.v1.relocation_pb2 import Relocation, RelocationStatus
from workspace.storage.v1.storage_service_pb2 import (
    RelocateProjectRequest,
    RelocateProjectResponse,
)

from services.kernel import Kernel
from services.model.errors import Reason, WorkspaceError
from services.records.record import Activity
from services.rpc.context import current_call
from storage_svc.gate import Files, ProjectGate
from storage_svc.old_objects import relocation_pk
from storage_svc.relocation import DUE_KIND, LOOK_SECONDS, Relocator, outside
from storage_svc.relocation_rows import RelocationRows, State, has_ended
from storage_svc.upload_rows import moment

__all__ = ["Relocating"]

_POLL_SECONDS = 0.2
_CHECKPOINT_SECONDS = 10.0
_USABLE = (ProjectStatus.PROJECT_STATUS_ACTIVE, ProjectStatus.PROJECT_STATUS_ARCHIVED)


class Relocating:
    """See the module."""

    def __init__(self, *, kernel: Kernel, gate: ProjectGate, relocator: Relocator) -> None:
        self._kernel = kernel
        self._gate = gate
        self._relocator = relocator
        self._rows = RelocationRows(kernel.records)

    async def relocate(
        self, request: RelocateProjectRequest
    ) -> AsyncGenerator[RelocateProjectResponse, None]:
        """Progress, at once and after each change, until the relocation ended."""
        await self._authorise(request)
        relocation_id, seen = self._position(request)
        state = await self._rows.load(request.project_id)
        if relocation_id:
            if state is None or state.relocation.relocation_id != relocation_id:
                raise _cursor_lost()
        elif request.dry_run or state is None or has_ended(state.relocation):
            listed = await self._plan(request)
            if request.dry_run:
                yield RelocateProjectResponse(relocation=self._planned(request, listed))
                return
            state = await self._begin(request, listed, state)
        async for message in self._follow(request, state, seen):
            yield message

    async def _authorise(self, request: RelocateProjectRequest) -> None:
        resource = f"projects/{request.project_id}"
        await self._gate.require(Permission.PERMISSION_OWNER, request.project_id, resource)
        project = await self._gate.project(request.project_id)
        if request.etag and request.etag != project.etag:
            raise WorkspaceError(
                Reason.ERROR_REASON_ETAG_MISMATCH,
                f"{resource} changed since it was read; read it again and repeat",
                metadata={"resource": resource},
            )
        if project.status not in _USABLE:
            raise _wrong_state(project)

    async def _plan(self, request: RelocateProjectRequest) -> Files:
        """What lies elsewhere. Raises HELD."""
        listed = await self._gate.files(request.project_id)
        if listed.held:
            raise WorkspaceError(
                Reason.ERROR_REASON_HELD,
                f"{listed.held} is under a legal hold, under which no object is removed; lift "
                "the hold first",
                metadata={"resource": listed.held},
            )
        listed.files = outside(listed.files, listed.prefix)
        return listed

    def _planned(self, request: RelocateProjectRequest, listed: Files) -> Relocation:
        return Relocation(
            project_id=request.project_id,
            target_prefix=listed.prefix,
            status=RelocationStatus.RELOCATION_STATUS_PLANNING,
            objects_planned=len(listed.files),
            bytes_planned=sum(file.file.size_bytes for file in listed.files),
            created_by=current_call().user_id,
            created_at=moment(self._kernel.now()),
        )

    async def _begin(
        self, request: RelocateProjectRequest, listed: Files, former: State | None
    ) -> State:
        """Steps: the due work that looks after it; the row, if nobody was
        quicker; the audit entry; the first pass, at once."""
        mutation = self._kernel.mutations.begin(request)
        planned = self._planned(request, listed)
        planned.relocation_id = mutation.new_id("r")
        if former is not None and former.relocation.relocation_id == planned.relocation_id:
            return former  # a repeat of the call that began it
        at = self._kernel.now() + LOOK_SECONDS
        await self._kernel.due.schedule(DUE_KIND, request.project_id, at)
        version, item = (former.version, former.item) if former is not None else (0, None)
        state = State(planned, version, item)
        if await self._rows.save(state):
            await self._kernel.records.commit(
                relocation_pk(request.project_id),
                [],
                activity=Activity(
                    "project.relocation_started",
                    f"projects/{request.project_id}",
                    project_id=request.project_id,
                ),
            )
        else:
            state = await self._load(request.project_id)
        self._relocator.start_soon(request.project_id)
        return state

    async def _load(self, project_id: str) -> State:
        state = await self._rows.load(project_id)
        if state is None:
            raise _cursor_lost()
        return state

    async def _follow(
        self, request: RelocateProjectRequest, state: State, seen: int
    ) -> AsyncGenerator[RelocateProjectResponse, None]:
        relocation_id, quiet = state.relocation.relocation_id, 0.0
        while True:
            ended = has_ended(state.relocation)
            if state.version != seen or ended:
                seen, quiet = state.version, 0.0
                yield await self._message(request, state, ended=ended)
            elif quiet >= _CHECKPOINT_SECONDS:
                quiet = 0.0
                yield await self._message(request, state, checkpoint=True)
            if ended:
                return
            await asyncio.sleep(_POLL_SECONDS)
            quiet += _POLL_SECONDS
            state = await self._load(request.project_id)
            if state.relocation.relocation_id != relocation_id:
                raise _cursor_lost()

    async def _message(
        self,
        request: RelocateProjectRequest,
        state: State,
        *,
        ended: bool = False,
        checkpoint: bool = False,
    ) -> RelocateProjectResponse:
        call = current_call()
        position = f"{state.relocation.relocation_id}/{state.version}"
        message = RelocateProjectResponse(
            relocation=state.shown(),
            resume_token=self._kernel.page_tokens.issue(
                call.method, call.user_id, _same(request), position
            ),
            checkpoint=checkpoint,
        )
        if ended:
            head = await self._kernel.records.head(relocation_pk(request.project_id))
            message.consistency_token = self._kernel.consistency.issue(head.pk, head.pseq, 0)
        return message

    def _position(self, request: RelocateProjectRequest) -> tuple[str, int]:
        """(relocation, version) of the resume token; ('', -1) without one."""
        if not request.resume_token:
            return "", -1
        call = current_call()
        try:
            text = self._kernel.page_tokens.open(
                call.method, call.user_id, _same(request), request.resume_token
            )
        except WorkspaceError as error:
            raise _cursor_lost() from error
        relocation_id, _, version = text.rpartition("/")
        return relocation_id, int(version)


def _same(request: RelocateProjectRequest) -> RelocateProjectRequest:
    """What a resume token is bound to."""
    return RelocateProjectRequest(project_id=request.project_id)


def _wrong_state(project: Project) -> WorkspaceError:
    state = ProjectStatus.Name(project.status).removeprefix("PROJECT_STATUS_").lower()
    resource = f"projects/{project.project_id}"
    return WorkspaceError(
        Reason.ERROR_REASON_INVALID_STATE,
        f"{resource} is {state}; restore it first",
        metadata={"resource": resource, "state": state},
    )


def _cursor_lost() -> WorkspaceError:
    return WorkspaceError(
        Reason.ERROR_REASON_CURSOR_LOST,
        "resume_token is not of the latest relocation; call again without it",
    )
