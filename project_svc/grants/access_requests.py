"""Asking for permissions on a project, and what its managers make of it.

Whoever holds a project id may ask, and must not learn from the answer whether
there is such a project: the request is stored either way, in the partition that
the project has or would have, with the same reads and the same commit. Its id
derives from project and user, so one user has one request on a project.
"""

from __future__ import annotations

import base64
import hashlib

from workspace.project.v1.grant_pb2 import AccessRequest, AccessRequestStatus, GrantTargetType
from workspace.project.v1.grant_service_pb2 import (
    DecideAccessRequestRequest,
    DecideAccessRequestResponse,
    ListAccessRequestsRequest,
    ListAccessRequestsResponse,
    RequestAccessRequest,
    RequestAccessResponse,
)

from project_svc.access.answers import permission_values
from project_svc.access.facts import project_key, project_pk
from project_svc.access.gate import Access, ProjectAccess, invalid_state, require_active
from project_svc.grants.new_grants import GrantTerms, end_of, new_grant, require_room
from project_svc.grants.targets import GrantTargets
from project_svc.projects.changes import activity_of
from services.kernel import Kernel
from services.model.errors import Reason, WorkspaceError, invalid_field
from services.model.families import FAMILIES
from services.model.indexes import Index
from services.model.permissions import MANAGE_ACCESS
from services.model.times import to_timestamp
from services.rate_limits import RateLimiter
from services.records.deciding import deciding
from services.records.mutation import Mutation, require_etag
from services.records.port import Key
from services.records.record import Activity, Record, Write
from services.rpc.context import current_call
from services.rpc.page_tokens import page_size

__all__ = ["AccessRequests", "access_request_id"]

_REQUEST, _PROJECT = FAMILIES["access_request"], FAMILIES["project"]
_GRANT = FAMILIES["project_grant"]
_PENDING = AccessRequestStatus.ACCESS_REQUEST_STATUS_PENDING
_APPROVED = AccessRequestStatus.ACCESS_REQUEST_STATUS_APPROVED
_DECLINED = AccessRequestStatus.ACCESS_REQUEST_STATUS_DECLINED
_MOST_SCANNED = 2_000


def access_request_id(project_id: str, user_id: str) -> str:
    """Id of the user's one request on a project (RFC 4648 base32, 130 bits)."""
    digest = hashlib.sha256(f"access {project_id} {user_id}".encode()).digest()
    return "q_" + base64.b32encode(digest).decode().lower()[:26]


class AccessRequests:
    """See the module. `limiter` counts the requests of a caller."""

    def __init__(
        self, *, kernel: Kernel, access: Access, targets: GrantTargets, limiter: RateLimiter
    ) -> None:
        self._kernel = kernel
        self._records = kernel.records
        self._access = access
        self._targets = targets
        self._limiter = limiter

    async def ask(self, request: RequestAccessRequest) -> RequestAccessResponse:
        """Store the wish. Nothing in here depends on whether the project exists."""
        mutation, pk = self._kernel.mutations.begin(request), project_pk(request.project_id)
        if done := await mutation.replay(pk, RequestAccessResponse):
            return done
        self._limiter.take(current_call().user_id)
        return await deciding(lambda: self._ask(request, mutation, pk))

    async def _ask(
        self, request: RequestAccessRequest, mutation: Mutation, pk: str
    ) -> RequestAccessResponse:
        user_id = current_call().user_id
        request_id = access_request_id(request.project_id, user_id)
        head = await self._records.head(pk)
        project = await self._records.get(_PROJECT, project_key(request.project_id))
        base = await self._records.get(_REQUEST, _key(request.project_id, request_id))
        asked = self._asked(request, base, request_id)
        return await mutation.commit(
            pk,
            [Write(_REQUEST, asked, base)],
            activity=Activity(
                "access_request.created",
                _name(asked),
                account_id=project.message.account_id if project else "",
                project_id=request.project_id,
            ),
            answer=lambda records: RequestAccessResponse(access_request=records[0].shown()),
            if_head=head,
        )

    async def list(self, request: ListAccessRequestsRequest) -> ListAccessRequestsResponse:
        """Requests of one state in order of id, a page at a time."""
        call = current_call()
        await self._access.require(request.project_id, MANAGE_ACCESS)
        opened = self._kernel.page_tokens.open(
            call.method, call.user_id, request, request.page_token
        )
        limit, after, scanned = page_size(request), opened or None, 0
        answer, status = ListAccessRequestsResponse(), request.status or _PENDING
        while True:
            page = await self._records.query(
                _REQUEST, Index.BASE, project_pk(request.project_id), prefix="ACCESS#",
                limit=limit - len(answer.access_requests), after=after,
            )
            wanted = (row for row in page.records if row.message.status == status)
            answer.access_requests.extend(row.shown() for row in wanted)
            after, scanned = page.next, scanned + limit
            full = len(answer.access_requests) >= limit
            if after is None or full or scanned >= _MOST_SCANNED:
                break
        if after is not None:
            answer.next_page_token = self._kernel.page_tokens.issue(
                call.method, call.user_id, request, after
            )
        return answer

    async def decide(self, request: DecideAccessRequestRequest) -> DecideAccessRequestResponse:
        """Approve with the grant in the same commit, or decline. Raises INVALID_FIELD
        for an approval that says neither what was read nor what to give."""
        _require_what_was_read(request)
        mutation, pk = self._kernel.mutations.begin(request), project_pk(request.project_id)

        async def attempt() -> DecideAccessRequestResponse:
            found = await self._access.require(request.project_id, MANAGE_ACCESS)
            if done := await mutation.replay(pk, DecideAccessRequestResponse):
                return done
            base = await self._pending(request)
            if request.approve:
                return await self._approve(found, base, request, mutation)
            decided = self._decided(base, request, _DECLINED)
            return await mutation.commit(
                pk,
                [Write(_REQUEST, decided, base)],
                activity=activity_of("access_request.declined", found.project, _name(decided)),
                answer=lambda records: DecideAccessRequestResponse(
                    access_request=records[0].shown()
                ),
                if_head=found.head,
            )

        return await deciding(attempt)

    async def _approve(
        self,
        found: ProjectAccess,
        base: Record[AccessRequest],
        request: DecideAccessRequestRequest,
        mutation: Mutation,
    ) -> DecideAccessRequestResponse:
        asked, now = base.message, self._access.now()
        terms = GrantTerms(
            target_type=GrantTargetType.GRANT_TARGET_TYPE_USER,
            target_id=asked.user_id,
            permissions=frozenset(map(int, request.permissions or asked.permissions)),
            ends=end_of(request),
            source_id=asked.access_request_id,
        )
        grant = new_grant(found, terms, grant_id=mutation.new_id("g"), now=now)
        require_active(found.project)
        await self._targets.require(found, grant)
        require_room(found, grant, now)
        decided = self._decided(base, request, _APPROVED)
        decided.grant_id = grant.grant_id
        return await mutation.commit(
            found.head.pk,
            [Write(_REQUEST, decided, base), Write(_GRANT, grant)],
            activity=activity_of("access_request.approved", found.project, _name(decided)),
            answer=lambda records: DecideAccessRequestResponse(
                access_request=records[0].shown(), grant=records[1].shown()
            ),
            if_head=found.head,
            still=self._access.still(found, MANAGE_ACCESS),
        )

    async def _pending(self, request: DecideAccessRequestRequest) -> Record[AccessRequest]:
        key = _key(request.project_id, request.access_request_id)
        base = await self._records.get(_REQUEST, key)
        resource = f"projects/{request.project_id}/accessRequests/{request.access_request_id}"
        if base is None:
            raise WorkspaceError(
                Reason.ERROR_REASON_NOT_FOUND,
                f"{resource} does not exist; list the access requests of the project",
                metadata={"resource": resource},
            )
        if base.message.status != _PENDING:
            raise invalid_state(resource, "decided", "the user may ask again")
        require_etag(base, request.etag, resource)
        return base

    def _asked(
        self, request: RequestAccessRequest, base: Record[AccessRequest] | None, request_id: str
    ) -> AccessRequest:
        now, user_id = to_timestamp(self._access.now()), current_call().user_id
        return AccessRequest(
            access_request_id=request_id,
            project_id=request.project_id,
            user_id=user_id,
            permissions=permission_values(request.permissions),
            note=request.note,
            status=_PENDING,
            created_by=user_id,
            created_at=base.message.created_at if base else now,
            updated_at=now,
        )

    def _decided(
        self,
        base: Record[AccessRequest],
        request: DecideAccessRequestRequest,
        status: AccessRequestStatus.ValueType,
    ) -> AccessRequest:
        decided = base.edit()
        decided.status = status
        decided.decided_by = current_call().user_id
        decided.decided_at.CopyFrom(to_timestamp(self._access.now()))
        decided.decision_note = request.note
        decided.updated_at.CopyFrom(decided.decided_at)
        return decided


def _require_what_was_read(request: DecideAccessRequestRequest) -> None:
    """The asker may change the wish at any time: an approval of the wish as it is
    would give what nobody looked at."""
    if request.approve and not request.etag and not request.permissions:
        raise invalid_field(
            "etag", "an approval needs the etag of the request that was read, or permissions"
        )


def _key(project_id: str, request_id: str) -> Key:
    return Key(project_pk(project_id), f"ACCESS#{request_id}")


def _name(asked: AccessRequest) -> str:
    return f"projects/{asked.project_id}/accessRequests/{asked.access_request_id}"
