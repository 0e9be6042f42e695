"""ResolveProjectConflicts: one rule for all open conflicts of a project."""

from __future__ import annotations

import uuid

import grpc.aio
from workspace.sync.v1.conflict_pb2 import (
    Conflict,
    ConflictVersion,
    ProjectResolution,
    Resolution,
)
from workspace.sync.v1.sync_service_pb2 import (
    ConflictResolutionResult,
    ResolveConflictRequest,
    ResolveProjectConflictsRequest,
    ResolveProjectConflictsResponse,
)

from services.kernel import Kernel
from services.model.errors import Reason, WorkspaceError, permission_denied
from services.model.permissions import WRITE
from services.records.record import Activity
from services.rpc.context import current_call
from services.rpc.errors import to_status
from services.rpc.page_tokens import page_size
from sync_svc.conflicts.access import ConflictAccess
from sync_svc.conflicts.listing import Conflicts
from sync_svc.conflicts.resolving import Resolving

__all__ = ["ProjectResolving"]

_METHOD = "workspace.sync.v1.SyncService/ResolveProjectConflicts"


class ProjectResolving:
    """See the module. Each conflict has its own outcome; conflicts that arrive
    meanwhile are not touched."""

    def __init__(
        self, *, kernel: Kernel, access: ConflictAccess, conflicts: Conflicts, resolving: Resolving
    ) -> None:
        self._kernel = kernel
        self._access = access
        self._conflicts = conflicts
        self._resolving = resolving

    async def resolve(
        self, request: ResolveProjectConflictsRequest
    ) -> ResolveProjectConflictsResponse:
        """One page of outcomes, newest conflicts first. Raises PERMISSION_DENIED."""
        project_id, caller = request.project_id, current_call().user_id
        tokens, pk = self._kernel.page_tokens, f"PROJECT#{request.project_id}"
        mutation = self._kernel.mutations.begin(request)
        position = tokens.open(_METHOD, caller, request, request.page_token)
        if WRITE not in await self._access.held(project_id):
            raise permission_denied("write", f"projects/{project_id}")
        if done := await mutation.replay(pk, ResolveProjectConflictsResponse):
            return done
        listed, following = await self._conflicts.of_project(
            project_id, position or None, page_size=page_size(request)
        )
        answer = ResolveProjectConflictsResponse()
        for conflict in listed:
            if request.kinds and conflict.kind not in request.kinds:
                continue
            answer.results.append(await self._one(request, conflict))
        if following:
            answer.next_page_token = tokens.issue(_METHOD, caller, request, following)
        answer.open_conflicts = await self._conflicts.count_open(project_id)
        if request.dry_run or not answer.results:
            return answer
        return await mutation.commit(
            pk,
            [],
            activity=Activity(
                "conflicts.resolved", f"projects/{project_id}", project_id=project_id,
                note=request.note,
            ),
            answer=lambda _: answer,
        )

    async def _one(
        self, request: ResolveProjectConflictsRequest, conflict: Conflict
    ) -> ConflictResolutionResult:
        result = ConflictResolutionResult(conflict_id=conflict.conflict_id)
        try:
            done = await self._resolving.resolve(
                ResolveConflictRequest(
                    conflict_id=conflict.conflict_id,
                    resolution=_choice(request.resolution, conflict),
                    resolves=[each.stamp.dot for each in conflict.versions],
                    dry_run=request.dry_run,
                    note=request.note,
                    request_id=_request_id(request, conflict),
                )
            )
        except (WorkspaceError, grpc.aio.AioRpcError) as error:
            result.error.CopyFrom(to_status(error, current_call().request_id))
            return result
        result.conflict.CopyFrom(done.conflict)
        return result


def _request_id(request: ResolveProjectConflictsRequest, conflict: Conflict) -> str:
    """Each conflict is decided once for a repeated call."""
    if not request.request_id or request.dry_run:
        return ""
    return str(uuid.uuid5(uuid.UUID(request.request_id), conflict.conflict_id))


def _choice(rule: ProjectResolution.ValueType, conflict: Conflict) -> Resolution:
    """The rule for one conflict. Raises INVALID_STATE where it does not say which."""
    shown = next((each for each in conflict.versions if each.winner), conflict.versions[0])
    if rule == ProjectResolution.PROJECT_RESOLUTION_OURS:
        return Resolution(ours=Resolution.Ours())
    if rule == ProjectResolution.PROJECT_RESOLUTION_THEIRS:
        return Resolution(theirs=Resolution.Theirs(dot=_other(conflict).stamp.dot))
    if rule == ProjectResolution.PROJECT_RESOLUTION_BOTH and conflict.key.family == "document":
        return Resolution(both=Resolution.Both())
    return Resolution(theirs=Resolution.Theirs(dot=shown.stamp.dot))


def _other(conflict: Conflict) -> ConflictVersion:
    """Of two versions the one that is not this instance's, or not shown."""
    if len(conflict.versions) != 2:
        raise WorkspaceError(
            Reason.ERROR_REASON_INVALID_STATE,
            f"the conflict has {len(conflict.versions)} versions; name one with ResolveConflict",
        )
    foreign = [each for each in conflict.versions if not each.ours]
    return foreign[0] if len(foreign) == 1 else conflict.versions[1]
