"""Answers to permission questions: about oneself freely, about others with
`manage_access` or as one of the services that may ask.

The request says how fresh the facts must be (`Demand`). Tokens of answers carry
the time alone: the commit counter of a project would tell strangers that it
exists.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime

from workspace.project.v1.document_pb2 import DocumentStatus
from workspace.project.v1.permission_pb2 import CheckResult
from workspace.project.v1.permission_service_pb2 import (
    BatchCheckPermissionsRequest,
    BatchCheckPermissionsResponse,
    BatchCheckResult,
    CheckItem,
    CheckPermissionRequest,
    CheckPermissionResponse,
    GetEffectivePermissionsRequest,
    GetEffectivePermissionsResponse,
)
from workspace.project.v1.project_pb2 import Project

from project_svc.access.answers import effective_message
from project_svc.access.facts import ProjectView, UserView, project_pk
from project_svc.access.gate import Access, is_gone
from project_svc.access.token_cut import allows_cut
from project_svc.documents.rows import DOCUMENT, document_key
from project_svc.policy import ASKING_SERVICES
from services.model.errors import WorkspaceError, invalid_field, permission_denied
from services.model.permissions import MANAGE_ACCESS, VIEW, Effective, Facts
from services.records.store import RecordStore
from services.rpc.consistency import ConsistencyTokens, Demand
from services.rpc.context import current_call
from services.rpc.errors import to_status

__all__ = ["Permissions"]

_GONE = (DocumentStatus.DOCUMENT_STATUS_TRASHED, DocumentStatus.DOCUMENT_STATUS_PURGED)
_NOTHING = Effective(frozenset(), (), (), ())
# Copied into each answer, never changed.
_ALLOWED = BatchCheckResult(result=CheckResult(allowed=True))
_REFUSED = BatchCheckResult(result=CheckResult(allowed=False))


@dataclass(frozen=True, slots=True)
class _Gathered:
    """The facts of one batch: projects by id, users by id."""

    views: Mapping[str, ProjectView]
    users: Mapping[str, UserView]
    now: datetime
    pairs: dict[tuple[str, str], Facts] = field(default_factory=dict)

    def allows(self, user_id: str, project_id: str, permission: int) -> bool:
        facts = self.pairs.get((user_id, project_id))
        if facts is None:
            view = self.views.get(project_id)
            if view is None:
                return False
            facts = view.facts(user_id, self.users[user_id])
            self.pairs[user_id, project_id] = facts
        return allows_cut(facts, permission, self.now)


class Permissions:
    """Use cases of PermissionService."""

    def __init__(
        self, *, access: Access, consistency: ConsistencyTokens, records: RecordStore
    ) -> None:
        self._records = records
        self._access = access
        self._consistency = consistency

    async def check(self, request: CheckPermissionRequest) -> CheckPermissionResponse:
        """One question; an absent project is `allowed: false`."""
        demand = self._consistency.demand(request.consistency)
        user_id = await self._asked(request.user_id, request.project_id, demand)
        allowed = await self._access.check(
            user_id, request.project_id, request.permission, demand
        )
        return CheckPermissionResponse(
            allowed=allowed, consistency_token=self._token(request.project_id)
        )

    async def batch(self, request: BatchCheckPermissionsRequest) -> BatchCheckPermissionsResponse:
        """Many questions; the facts of a user and of a project are read once."""
        demand = self._consistency.demand(request.consistency)
        call = current_call()
        gathered = await self._gather(request.items, call.user_id, call.service, demand)
        results = [
            _item_result(item, gathered, call.user_id, call.service, call.request_id)
            for item in request.items
        ]
        return BatchCheckPermissionsResponse(
            results=results, consistency_token=self._token(request.items[0].project_id)
        )

    async def effective(
        self, request: GetEffectivePermissionsRequest
    ) -> GetEffectivePermissionsResponse:
        """Everything a user holds, with sources. For oneself a project that
        gives nothing looks like one that is not there."""
        demand = self._consistency.demand(request.consistency)
        user_id = await self._asked(request.user_id, request.project_id, demand)
        found = await self._access.of(user_id, request.project_id, demand)
        effective = found.effective if found and found.effective.sources else _NOTHING
        if request.document_id and found and not await self._is_usable(request, found.project):
            effective = _NOTHING
        return GetEffectivePermissionsResponse(
            effective_permissions=effective_message(
                request.project_id, user_id, effective, sources=True
            ),
            grant_revision=found.grant_revision if found and effective is not _NOTHING else "",
            consistency_token=self._token(request.project_id),
            project_name=found.project.name if found and VIEW in effective.permissions else "",
        )

    async def _is_usable(self, request: GetEffectivePermissionsRequest, project: Project) -> bool:
        """Whether the document is of the project, and neither in the trash or purged."""
        record = await self._records.get(DOCUMENT, document_key(request.document_id))
        return (
            not is_gone(project)
            and record is not None
            and record.message.project_id == request.project_id
            and record.message.status not in _GONE
        )

    def _token(self, project_id: str) -> str:
        now_ms = int(self._access.now().timestamp() * 1000)
        return self._consistency.issue(project_pk(project_id), 0, now_ms)

    async def _asked(self, user_id: str, project_id: str, demand: Demand) -> str:
        """The user asked about; raises PERMISSION_DENIED when the caller may not."""
        call = current_call()
        asked = user_id or call.user_id
        if not asked:
            raise invalid_field("user_id", "a service names the user it asks about")
        if asked != call.user_id and call.service not in ASKING_SERVICES:
            await self._access.require(project_id, MANAGE_ACCESS, demand=demand)
        return asked

    async def _gather(
        self, items: Sequence[CheckItem], caller: str, service: str, demand: Demand
    ) -> _Gathered:
        views = await self._access.facts.projects((item.project_id for item in items), demand)
        wanted: dict[str, set[str]] = {}
        for item in items:
            user_id = item.user_id or caller
            wanted.setdefault(user_id, set()).add(item.project_id)
            if user_id != caller and service not in ASKING_SERVICES:
                wanted.setdefault(caller, set()).add(item.project_id)
        users = {
            user_id: await self._user(user_id, [views[p] for p in projects if p in views], demand)
            for user_id, projects in wanted.items()
            if user_id
        }
        return _Gathered(views, users, self._access.now())

    async def _user(
        self, user_id: str, views: Iterable[ProjectView], demand: Demand
    ) -> UserView:
        accounts: set[str] = set()
        teams: set[str] = set()
        for view in views:
            accounts |= view.accounts
            teams |= view.teams
        return await self._access.facts.user(user_id, accounts, teams, demand)


def _item_result(
    item: CheckItem, gathered: _Gathered, caller: str, service: str, request_id: str
) -> BatchCheckResult:
    user_id = item.user_id or caller
    error: WorkspaceError | None = None
    if not user_id:
        error = invalid_field("user_id", "a service names the user it asks about")
    elif not (
        user_id == caller
        or service in ASKING_SERVICES
        or gathered.allows(caller, item.project_id, MANAGE_ACCESS)
    ):
        error = permission_denied("manage_access", f"projects/{item.project_id}")
    if error is not None:
        return BatchCheckResult(error=to_status(error, request_id))
    allowed = gathered.allows(user_id, item.project_id, item.permission)
    return _ALLOWED if allowed else _REFUSED
