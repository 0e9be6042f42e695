"""Projects without an enabled owner: found, and given a new one; and what becomes
of an account's projects when it is deleted. For the identity service alone.

An owner counts while his user is enabled, which lies in another partition. Who
disables a user therefore asks after that commit: a project with another owner is
touched first, so that a decision there which still saw the user enabled is made
anew. Of the last two owners, one who leaves and one who is disabled, the first is
refused or the second is found here.
"""

from __future__ import annotations

from collections.abc import AsyncIterator

from workspace.identity.v1.user_pb2 import UserStatus
from workspace.project.v1.grant_pb2 import Grant, GrantSource, GrantStatus, GrantTargetType
from workspace.project.v1.grant_service_pb2 import (
    ClaimProjectRequest,
    ClaimProjectResponse,
    FindOrphanedProjectsRequest,
    FindOrphanedProjectsResponse,
    SurveyAccountProjectsRequest,
    SurveyAccountProjectsResponse,
)
from workspace.project.v1.project_pb2 import Project, ProjectStatus

from project_svc.access.answers import touched
from project_svc.access.candidates import Candidates, CandidateSource, granted_to, projects_of
from project_svc.access.facts import ProjectView, project_pk
from project_svc.access.gate import Access, invalid_state
from project_svc.grants.rules import any_enabled, owner_grants, stored_permissions
from project_svc.projects.changes import activity_of
from project_svc.projects.purge import PROJECT_PURGE
from services.kernel import Kernel
from services.model.errors import permission_denied
from services.model.families import FAMILIES
from services.model.indexes import Index
from services.model.permissions import MANAGE_ACCESS, OWNER
from services.model.times import to_timestamp
from services.records.deciding import deciding
from services.records.record import Write
from services.rpc.context import current_call

__all__ = ["OrphanedProjects"]

_PROJECT, _GRANT = FAMILIES["project"], FAMILIES["project_grant"]
_TRASHED = ProjectStatus.PROJECT_STATUS_TRASHED
_PURGED = ProjectStatus.PROJECT_STATUS_PURGED
_AT_ONCE = 200


class OrphanedProjects:
    """See the module."""

    def __init__(self, *, kernel: Kernel, access: Access) -> None:
        self._kernel = kernel
        self._records = kernel.records
        self._access = access
        self._candidates = Candidates(kernel.records)

    async def claim(self, request: ClaimProjectRequest) -> ClaimProjectResponse:
        """One commit under the head at which the project was found orphaned."""
        mutation, pk = self._kernel.mutations.begin(request), project_pk(request.project_id)

        async def attempt() -> ClaimProjectResponse:
            view = await self._access.facts.project(request.project_id)
            if view is None or _home(view.record.message) != request.account_id:
                raise permission_denied("owner", f"projects/{request.project_id}")
            if done := await mutation.replay(pk, ClaimProjectResponse):
                return done
            await self._require_orphaned(view)
            await self._require_entitled(request)
            grant = self._owner_grant(request, mutation.new_id("g"))
            return await mutation.commit(
                pk,
                [Write(_GRANT, grant)],
                activity=activity_of("project.claimed", view.record.message),
                answer=lambda records: ClaimProjectResponse(grant=records[0].shown()),
                if_head=view.head,
            )

        return await deciding(attempt)

    async def find(self, request: FindOrphanedProjectsRequest) -> FindOrphanedProjectsResponse:
        """The next 200 projects with a grant to the user, and which are his alone."""
        await self._kernel.feed.indexes_settled()
        source = granted_to(Index.USER, f"USER#{request.user_id}")
        answer, seen, last = FindOrphanedProjectsResponse(), 0, request.after_project_id
        async for project_id in self._candidates.merged([source], after=last):
            if seen == _AT_ONCE:
                answer.next_after_project_id = last
                return answer
            seen, last = seen + 1, project_id
            if await self._is_alone(project_id, request.user_id):
                answer.project_ids.append(project_id)
                if account_id := await self._account_of(project_id):
                    answer.account_ids[project_id] = account_id
        return answer

    async def survey(self, request: SurveyAccountProjectsRequest) -> SurveyAccountProjectsResponse:
        """The next 200 projects of an account: holds, and into the trash."""
        await self._kernel.feed.indexes_settled()
        sources = projects_of(Index.ACCOUNT, f"ACCOUNT#{request.account_id}")
        answer, seen, last = SurveyAccountProjectsResponse(), 0, request.after_project_id
        async for project in self._projects(sources, last, request.account_id):
            if seen == _AT_ONCE:
                answer.next_after_project_id = last
                return answer
            seen, last = seen + 1, project.project_id
            answer.project_count += 1
            if project.legal_hold:
                answer.held_project_id = answer.held_project_id or project.project_id
            elif request.trash and project.status != _TRASHED:
                token = await self._trash(project.project_id, request.account_id)
                answer.consistency_token = token or answer.consistency_token
        return answer

    async def _projects(
        self, sources: list[CandidateSource], after: str, account_id: str
    ) -> AsyncIterator[Project]:
        async for project_id in self._candidates.merged(sources, after=after):
            view = await self._access.facts.project(project_id)
            if view is None or view.record.message.account_id != account_id:
                continue
            if view.record.message.status != _PURGED:
                yield view.record.message

    async def _trash(self, project_id: str, account_id: str) -> str:
        """Purgeable at once: the account itself had its time of grace. Answers the
        consistency token; empty when nothing was to do."""

        async def attempt() -> str:
            view = await self._access.facts.project(project_id)
            if view is None or view.record.message.account_id != account_id:
                return ""
            project = view.record.edit()
            if project.legal_hold or project.status in (_TRASHED, _PURGED):
                return ""
            now = self._access.now()
            await self._kernel.due.schedule(PROJECT_PURGE, project_id, now.timestamp())
            project.status_before_trash = project.status
            project.status = _TRASHED
            for stamp in (project.trashed_at, project.purge_after):
                stamp.CopyFrom(to_timestamp(now))
            touched(project, user_id=current_call().user_id, now=now)
            done = await self._records.commit(
                project_pk(project_id),
                [Write(_PROJECT, project, base=view.record)],
                activity=activity_of("project.trashed", project),
                if_head=view.head,
            )
            return self._kernel.consistency.issue(done.pk, done.pseq, done.time_ms)

        return await deciding(attempt)

    async def _account_of(self, project_id: str) -> str:
        view = await self._access.facts.project(project_id)
        return view.record.message.account_id if view else ""

    async def _is_alone(self, project_id: str, user_id: str) -> bool:
        alone = await self._decide_alone(project_id, user_id)
        if alone is not None:
            return alone
        await self._records.touch(project_pk(project_id))
        return await self._decide_alone(project_id, user_id) or False

    async def _decide_alone(self, project_id: str, user_id: str) -> bool | None:
        """Whether nobody else enabled owns it; None: somebody else does."""
        view = await self._access.facts.project(project_id)
        if view is None or view.record.message.status in (_TRASHED, _PURGED):
            return False
        owners = {grant.target_id for grant in owner_grants(view)}
        if user_id not in owners:
            return False
        return None if await any_enabled(owners - {user_id}, self._access.facts) else True

    async def _require_orphaned(self, view: ProjectView) -> None:
        resource = f"projects/{view.project_id}"
        if view.record.message.status == _PURGED:
            raise invalid_state(resource, "purged", "nothing is left to own")
        owners = {grant.target_id for grant in owner_grants(view)}
        if await any_enabled(owners, self._access.facts):
            raise invalid_state(resource, "owned", "ask one of its owners")

    async def _require_entitled(self, request: ClaimProjectRequest) -> None:
        new_owner = request.owner_user_id
        user = await self._access.facts.user(new_owner)
        if user.status != UserStatus.USER_STATUS_ACTIVE:
            raise invalid_state(f"users/{new_owner}", "not active", "choose an active user")
        if not request.entitled_only or new_owner == request.successor_user_id:
            return
        found = await self._access.of(new_owner, request.project_id)
        if found is None or MANAGE_ACCESS not in found.permissions:
            raise invalid_state(
                f"users/{new_owner}",
                "not entitled",
                "choose someone who has manage_access on the project, or the named successor",
            )

    def _owner_grant(self, request: ClaimProjectRequest, grant_id: str) -> Grant:
        caller, now = current_call().user_id, self._access.now()
        grant = Grant(
            grant_id=grant_id,
            project_id=request.project_id,
            target_type=GrantTargetType.GRANT_TARGET_TYPE_USER,
            target_id=request.owner_user_id,
            permissions=stored_permissions([OWNER]),
            source=GrantSource.GRANT_SOURCE_CLAIM,
            note=request.reason,
            created_by=caller,
            created_at=to_timestamp(now),
            status=GrantStatus.GRANT_STATUS_ACTIVE,
        )
        touched(grant, user_id=caller, now=now)
        return grant


def _home(project: Project) -> str:
    return project.account_id or project.workspace_id
