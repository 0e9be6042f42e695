"""What a removal from an account takes away: direct grants on its projects.

The index of the user's grants finds the projects; each is decided by strong
reads and committed by itself under its head. Nothing is remembered in between:
a revoked grant is passed over, so a repeat goes on where the last call stopped.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from datetime import datetime

from workspace.project.v1.grant_pb2 import Grant, GrantStatus, GrantTargetType
from workspace.project.v1.grant_service_pb2 import (
    RevokeMemberGrantsRequest,
    RevokeMemberGrantsResponse,
)

from project_svc.access.facts import ProjectView, project_key, project_pk
from project_svc.access.gate import Access
from project_svc.grants.rules import any_enabled, end_grant, owner_grants
from project_svc.projects.changes import activity_of
from services.kernel import Kernel
from services.model.families import FAMILIES
from services.model.indexes import Index
from services.model.permissions import OWNER
from services.model.times import from_timestamp
from services.records.deciding import deciding
from services.records.record import Record, Write
from services.rpc.context import current_call

__all__ = ["MemberGrants"]

_PROJECT, _GRANT = FAMILIES["project"], FAMILIES["project_grant"]
_ROWS = 500
_MOST_COMMITS = 200
_MOST_WRITES = 80
_MOST_SHOWN = 500


@dataclass(slots=True)
class _Outcome:
    """What happened to one project: its grants that ended and that stayed.
    `left` says that there are more than one commit takes."""

    revoked: int = 0
    kept: list[Grant] = field(default_factory=list)
    token: str = ""
    left: bool = False


class MemberGrants:
    """See the module."""

    def __init__(self, *, kernel: Kernel, access: Access) -> None:
        self._kernel = kernel
        self._records = kernel.records
        self._access = access

    async def revoke(self, request: RevokeMemberGrantsRequest) -> RevokeMemberGrantsResponse:
        """At most 200 commits; the answer says whether that was all."""
        await self._kernel.feed.indexes_settled()  # grants made until the removal
        answer, commits = RevokeMemberGrantsResponse(), 0
        async for project_id in self._projects(request):
            if commits >= _MOST_COMMITS:
                return answer
            found = await self._revoke_on(project_id, request)
            commits += bool(found.revoked)
            answer.revoked_count += found.revoked
            answer.kept_count += len(found.kept)
            answer.kept.extend(found.kept[: _MOST_SHOWN - len(answer.kept)])
            answer.consistency_token = found.token or answer.consistency_token
            if found.left:
                return answer
        answer.complete = True
        return answer

    async def _projects(self, request: RevokeMemberGrantsRequest) -> AsyncIterator[str]:
        """Projects of the account on which the index has a grant in force."""
        after: str | None = None
        last = ""
        while True:
            page = await self._records.query(
                _GRANT, Index.USER, f"USER#{request.user_id}",
                prefix="GRANT#", limit=_ROWS, after=after,
            )
            meant = [r.message.project_id for r in page.records if _is_meant(r.message, request)]
            ids = [each for each in dict.fromkeys(meant) if each != last]
            for row in await self._records.batch_get(_PROJECT, [*map(project_key, ids)]):
                if row is not None and row.message.account_id == request.account_id:
                    yield row.message.project_id
            if page.next is None:
                return
            after, last = page.next, (ids or [last])[-1]

    async def _revoke_on(self, project_id: str, request: RevokeMemberGrantsRequest) -> _Outcome:
        async def attempt() -> _Outcome:
            view = await self._access.facts.project(project_id)
            if view is None or view.record.message.account_id != request.account_id:
                return _Outcome()  # it moved away meanwhile
            ending, kept = await self._split(view, request)
            return await self._commit(view, ending, kept, request)

        return await deciding(attempt)

    async def ending(self, view: ProjectView, account_id: str, user_id: str) -> frozenset[str]:
        """Ids of the grants on this project that a removal from the account would
        revoke now."""
        if view.project.account_id != account_id:
            return frozenset()
        request = RevokeMemberGrantsRequest(account_id=account_id, user_id=user_id)
        ending, _ = await self._split(view, request)
        return frozenset(grant.message.grant_id for grant in ending)

    async def _split(
        self, view: ProjectView, request: RevokeMemberGrantsRequest
    ) -> tuple[list[Record[Grant]], list[Record[Grant]]]:
        """The user's grants that end, and those that stay."""
        meant = [grant for grant in view.grants if _is_meant(grant.message, request)]
        kept = await self._kept(view, meant, request.user_id)
        return [grant for grant in meant if grant not in kept], kept

    async def _kept(
        self, view: ProjectView, meant: list[Record[Grant]], user_id: str
    ) -> list[Record[Grant]]:
        """The one owner grant that stays when nobody else enabled owns the project."""
        own = [grant for grant in meant if OWNER in grant.message.permissions]
        if not own:
            return []
        ended = {grant.message.grant_id for grant in meant}
        staying = [grant for grant in owner_grants(view) if grant.grant_id not in ended]
        if any(grant.target_id == user_id for grant in staying):
            return []
        others = {grant.target_id for grant in staying}
        return [] if await any_enabled(others, self._access.facts) else own[:1]

    async def _commit(
        self,
        view: ProjectView,
        ending: list[Record[Grant]],
        kept: list[Record[Grant]],
        request: RevokeMemberGrantsRequest,
    ) -> _Outcome:
        outcome = _Outcome(kept=[grant.shown() for grant in kept])
        if not ending:
            return outcome
        writes = [self._ended(grant, request.reason) for grant in ending[:_MOST_WRITES]]
        pk = project_pk(view.project_id)
        done = await self._records.commit(
            pk,
            writes,
            activity=activity_of(
                "grant.revoked", view.record.message,
                f"projects/{view.project_id}/grants/{ending[0].message.grant_id}",
            ),
            if_head=view.head,
        )
        outcome.revoked, outcome.left = len(writes), len(ending) > _MOST_WRITES
        outcome.token = self._kernel.consistency.issue(pk, done.pseq, done.time_ms)
        return outcome

    def _ended(self, record: Record[Grant], reason: str) -> Write[Grant]:
        grant = record.edit()
        now: datetime = self._access.now()
        end_grant(grant, user_id=current_call().user_id, now=now, reason=reason)
        return Write(_GRANT, grant, base=record)


def _is_meant(grant: Grant, request: RevokeMemberGrantsRequest) -> bool:
    """Whether it is in force, to the user himself, and old enough."""
    if grant.status != GrantStatus.GRANT_STATUS_ACTIVE or grant.target_id != request.user_id:
        return False
    if grant.target_type != GrantTargetType.GRANT_TARGET_TYPE_USER:
        return False
    until = request.granted_until
    return not request.HasField("granted_until") or (
        from_timestamp(grant.created_at) <= from_timestamp(until)
    )
