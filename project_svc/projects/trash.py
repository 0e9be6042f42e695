"""The trash of projects and what keeps things out of it: legal holds.

A trashed project keeps its row, grants and documents; its owners restore it
until `purge_after`.
"""

from __future__ import annotations

from datetime import timedelta

from workspace.identity.v1.account_pb2 import AccountCapability
from workspace.project.v1.project_pb2 import Project, ProjectStatus
from workspace.project.v1.project_service_pb2 import (
    DeleteProjectRequest,
    DeleteProjectResponse,
    RestoreProjectRequest,
    RestoreProjectResponse,
    SetLegalHoldRequest,
    SetLegalHoldResponse,
)

from project_svc.access.answers import project_message, touched
from project_svc.access.facts import project_pk
from project_svc.access.gate import Access, ProjectAccess, invalid_state, status_word
from project_svc.projects.changes import ProjectChanges, activity_of
from project_svc.projects.holds import require_no_hold
from project_svc.projects.homes import home_of
from project_svc.projects.purge import PROJECT_PURGE
from services.kernel import Kernel
from services.model.errors import permission_denied
from services.model.families import FAMILIES
from services.model.permissions import OWNER, VIEW
from services.model.times import to_timestamp
from services.records.deciding import deciding
from services.records.mutation import require_etag
from services.records.record import Record, Write
from services.rpc.context import current_call

__all__ = ["Trash"]

_PROJECT = FAMILIES["project"]
_TRASHED = ProjectStatus.PROJECT_STATUS_TRASHED
_PURGED = ProjectStatus.PROJECT_STATUS_PURGED
_SHOWN_TO_HOLDERS = ("project_id", "account_id", "status", "legal_hold", "legal_hold_reason")


class Trash:
    """Use cases of deleting, restoring and holding projects."""

    def __init__(self, *, kernel: Kernel, access: Access) -> None:
        self._kernel = kernel
        self._access = access
        self._changes = ProjectChanges(kernel=kernel, access=access)

    async def delete(self, request: DeleteProjectRequest) -> DeleteProjectResponse:
        """Into the trash. Raises HELD under a legal hold, INVALID_STATE when
        it is there already or purged."""

        async def decide(found: ProjectAccess, project: Project) -> None:
            if project.status in (_TRASHED, _PURGED):
                raise invalid_state(_name(project), status_word(project), "nothing is to do")
            require_no_hold(found)
            now = self._access.now()
            keep = timedelta(days=self._kernel.settings.trash_days)
            project.status_before_trash = project.status
            project.status = _TRASHED
            project.trashed_at.CopyFrom(to_timestamp(now))
            project.trashed_by = found.user_id
            project.purge_after.CopyFrom(to_timestamp(now + keep))
            await self._kernel.due.schedule(
                PROJECT_PURGE, project.project_id, (now + keep).timestamp()
            )

        return await self._changes.run(
            request,
            DeleteProjectResponse,
            project_id=request.project_id,
            etag=request.etag,
            event="project.trashed",
            authorise=lambda: self._access.require(request.project_id, OWNER),
            decide=decide,
        )

    async def restore(self, request: RestoreProjectRequest) -> RestoreProjectResponse:
        """Out of the trash. Raises INVALID_STATE when it is not there."""

        async def decide(_: ProjectAccess, project: Project) -> None:
            if project.status != _TRASHED:
                raise invalid_state(
                    _name(project), status_word(project), "only what is in the trash is restored"
                )
            project.status = project.status_before_trash
            for name in ("status_before_trash", "trashed_at", "trashed_by", "purge_after"):
                project.ClearField(name)

        return await self._changes.run(
            request,
            RestoreProjectResponse,
            project_id=request.project_id,
            etag=request.etag,
            event="project.restored",
            authorise=lambda: self._access.require(request.project_id, OWNER),
            decide=decide,
        )

    async def set_legal_hold(self, request: SetLegalHoldRequest) -> SetLegalHoldResponse:
        """Set or lift the hold. Needs `manage_account` of the home account, or
        `owner` in a private workspace; no right to see the project."""
        mutation = self._changes.begin(request)
        pk = project_pk(request.project_id)

        async def attempt() -> SetLegalHoldResponse:
            found = await self._holder(request.project_id)
            if done := await mutation.replay(pk, SetLegalHoldResponse):
                return done
            require_etag(found.record, request.etag, f"projects/{request.project_id}")
            if found.project.status == _PURGED:
                raise invalid_state(_name(found.project), "purged", "nothing is left to hold")
            project = found.record.edit()
            project.legal_hold = request.legal_hold
            project.legal_hold_reason = request.reason
            touched(project, user_id=found.user_id, now=self._access.now())
            event = "project.held" if request.legal_hold else "project.released"
            return await mutation.commit(
                pk,
                [Write(_PROJECT, project, base=found.record)],
                activity=activity_of(event, project),
                answer=lambda records: SetLegalHoldResponse(project=_held(found, records[0])),
                if_head=found.head,
                still=lambda: self._holder(request.project_id),
            )

        return await deciding(attempt)

    async def _holder(self, project_id: str) -> ProjectAccess:
        found = await self._access.of(current_call().user_id, project_id)
        if found is None:
            raise permission_denied("manage_account", f"projects/{project_id}")
        account_id = found.project.account_id
        if not account_id:
            return await self._access.require(project_id, OWNER)
        home = home_of(account_id, found.user.raw[account_id], personal=False)
        if AccountCapability.ACCOUNT_CAPABILITY_MANAGE_ACCOUNT not in home.capabilities:
            raise permission_denied("manage_account", f"projects/{project_id}")
        return found


def _name(project: Project) -> str:
    return f"projects/{project.project_id}"


def _held(found: ProjectAccess, record: Record[Project]) -> Project:
    """The whole project for those who may view it, else the hold alone."""
    project = project_message(record, found.permissions)
    if VIEW in found.permissions:
        return project
    shown = Project(etag=project.etag)
    for name in _SHOWN_TO_HOLDERS:
        setattr(shown, name, getattr(project, name))
    return shown
