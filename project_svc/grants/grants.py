"""Grants: who is given what on a project, and how it ends."""

from __future__ import annotations

from workspace.project.v1.grant_pb2 import Grant, GrantStatus, GrantTargetType
from workspace.project.v1.grant_service_pb2 import (
    CreateGrantRequest,
    CreateGrantResponse,
    ListGrantsRequest,
    ListGrantsResponse,
    RevokeGrantRequest,
    RevokeGrantResponse,
    UpdateGrantRequest,
    UpdateGrantResponse,
)

from project_svc.access.answers import touched
from project_svc.access.facts import project_pk
from project_svc.access.gate import Access, ProjectAccess, invalid_state, require_active
from project_svc.access.token_cut import leaves
from project_svc.grants.new_grants import (
    GrantTerms,
    end_of,
    is_later,
    new_grant,
    require_own_end,
    require_room,
)
from project_svc.grants.rules import (
    end_grant,
    exceeds,
    require_other_owner,
    require_owner_shape,
    require_within,
    stored_permissions,
)
from project_svc.grants.targets import GrantTargets
from project_svc.projects.changes import activity_of
from services.kernel import Kernel
from services.model.errors import Reason, WorkspaceError, invalid_field
from services.model.families import FAMILIES
from services.model.indexes import Index
from services.model.permissions import MANAGE_ACCESS, OWNER, expand, preset_permissions
from services.records.deciding import deciding
from services.records.mutation import require_etag
from services.records.record import Record, Write
from services.rpc.context import current_call
from services.rpc.field_masks import apply_mask
from services.rpc.page_tokens import page_size

__all__ = ["Grants"]

_GRANT = FAMILIES["project_grant"]
_ACTIVE = GrantStatus.GRANT_STATUS_ACTIVE
_USER = GrantTargetType.GRANT_TARGET_TYPE_USER
_SERVER_SET = frozenset(Grant.DESCRIPTOR.fields_by_name) - {"permissions", "expires_at", "note"}
_MOST_SCANNED = 2_000


class Grants:
    """Use cases of grants. Every change is committed under the head on which
    the right to make it was decided."""

    def __init__(self, *, kernel: Kernel, access: Access, targets: GrantTargets) -> None:
        self._kernel = kernel
        self._access = access
        self._targets = targets

    async def create(self, request: CreateGrantRequest) -> CreateGrantResponse:
        """Give permissions, at most one's own and at most as long."""
        mutation = self._kernel.mutations.begin(request)

        async def attempt() -> CreateGrantResponse:
            found = await self._access.require(request.project_id, MANAGE_ACCESS)
            if done := await mutation.replay(project_pk(request.project_id), CreateGrantResponse):
                return done
            target_id = request.target_id
            if request.target_email:
                target_id = await self._targets.resolve(found, request.target_email)
            grant = self._new_grant(found, request, mutation.new_id("g"), target_id)
            require_active(found.project)
            await self._targets.require(found, grant)
            require_room(found, grant, self._access.now())
            return await mutation.commit(
                project_pk(request.project_id),
                [Write(_GRANT, grant)],
                activity=activity_of("grant.created", found.project, _name(grant)),
                answer=lambda records: CreateGrantResponse(grant=records[0].shown()),
                if_head=found.head,
                still=self._access.still(found, MANAGE_ACCESS),
            )

        return await deciding(attempt)

    async def update(self, request: UpdateGrantRequest) -> UpdateGrantResponse:
        """Change permissions, end or note of a grant that is not revoked."""
        mutation = self._kernel.mutations.begin(request)

        async def attempt() -> UpdateGrantResponse:
            wanted = request.grant
            found = await self._access.require(wanted.project_id, MANAGE_ACCESS)
            if done := await mutation.replay(project_pk(wanted.project_id), UpdateGrantResponse):
                return done
            record = _grant_of(found, wanted.grant_id)
            require_etag(record, wanted.etag, _name(wanted))
            _require_not_revoked(record)
            grant = record.edit()
            apply_mask(grant, wanted, request.update_mask, server_set=_SERVER_SET)
            await self._require_may_change(found, record.message, grant)
            permissions = stored_permissions(_permissions(grant))
            del grant.permissions[:]
            grant.permissions.extend(permissions)
            touched(grant, user_id=found.user_id, now=self._access.now())
            return await mutation.commit(
                found.head.pk,
                [Write(_GRANT, grant, base=record)],
                activity=activity_of("grant.updated", found.project, _name(grant)),
                answer=lambda records: UpdateGrantResponse(grant=records[0].shown()),
                if_head=found.head,
                still=self._access.still(found, MANAGE_ACCESS),
            )

        return await deciding(attempt)

    async def revoke(self, request: RevokeGrantRequest) -> RevokeGrantResponse:
        """End a grant. One's own needs no right; an owner must stay."""
        mutation = self._kernel.mutations.begin(request)

        async def attempt() -> RevokeGrantResponse:
            found, record = await self._revocable(request)
            if done := await mutation.replay(project_pk(request.project_id), RevokeGrantResponse):
                return done
            require_etag(record, request.etag, _name(record.message))
            _require_not_revoked(record)
            if not _is_own(found, record.message):
                require_within(found, map(int, record.message.permissions))
            if OWNER in record.message.permissions:
                await require_other_owner(found, request.grant_id, self._access.facts)
            grant = record.edit()
            end_grant(grant, user_id=found.user_id, now=self._access.now())
            return await mutation.commit(
                found.head.pk,
                [Write(_GRANT, grant, base=record)],
                activity=activity_of("grant.revoked", found.project, _name(grant)),
                answer=lambda records: RevokeGrantResponse(grant=records[0].shown()),
                if_head=found.head,
            )

        return await deciding(attempt)

    async def list(self, request: ListGrantsRequest) -> ListGrantsResponse:
        """Grants of one state in order of id, a page at a time."""
        call = current_call()
        await self._access.require(request.project_id, MANAGE_ACCESS)
        opened = self._kernel.page_tokens.open(
            call.method, call.user_id, request, request.page_token
        )
        limit, after, scanned = page_size(request), opened or None, 0
        answer = ListGrantsResponse()
        while True:
            page = await self._kernel.records.query(
                _GRANT,
                Index.BASE,
                project_pk(request.project_id),
                prefix="GRANT#",
                limit=limit - len(answer.grants),
                after=after,
            )
            answer.grants.extend(r.shown() for r in page.records if _listed(r.message, request))
            after, scanned = page.next, scanned + limit
            if after is None or len(answer.grants) >= limit or scanned >= _MOST_SCANNED:
                break
        if after is not None:
            answer.next_page_token = self._kernel.page_tokens.issue(
                call.method, call.user_id, request, after
            )
        return answer

    def _new_grant(
        self, found: ProjectAccess, request: CreateGrantRequest, grant_id: str, target_id: str
    ) -> Grant:
        terms = GrantTerms(
            target_type=request.target_type,
            target_id=target_id,
            permissions=frozenset(map(int, request.permissions))
            or preset_permissions(request.preset),
            ends=end_of(request),
            note=request.note,
        )
        return new_grant(found, terms, grant_id=grant_id, now=self._access.now())

    async def _require_may_change(self, found: ProjectAccess, old: Grant, new: Grant) -> None:
        before, after = _permissions(old), _permissions(new)
        if not after:
            raise invalid_field("permissions", "must not be empty; revoke the grant instead")
        require_within(found, before)
        require_within(found, after)
        now, end = self._access.now(), end_of(new)
        require_owner_shape(after, new.target_type, end)
        later = is_later(end, end_of(old))
        if end is not None and end != end_of(old) and end <= now:
            raise invalid_field("expires_at", "is in the past; revoke the grant instead")
        if _is_own(found, old) and (later or expand(after) - expand(before)):
            raise exceeds("manage_access", "nobody raises his own grant; ask another manager")
        if later or expand(after) - expand(before):
            await self._require_may_widen(found, old, new)
        if OWNER in before and OWNER not in after:
            await require_other_owner(found, old.grant_id, self._access.facts)

    async def _require_may_widen(self, found: ProjectAccess, old: Grant, new: Grant) -> None:
        """More, or for longer, is given like a new grant: to the same targets."""
        require_active(found.project)
        require_own_end(found, _permissions(new), end_of(new))
        await self._targets.require(found, new)
        ended = end_of(old)
        if ended is not None and ended <= self._access.now():
            require_room(found, new, self._access.now())  # it comes into force again

    async def _revocable(self, request: RevokeGrantRequest) -> tuple[ProjectAccess, Record[Grant]]:
        user_id = current_call().user_id
        found = await self._access.of(user_id, request.project_id)
        record = _find(found, request.grant_id) if found else None
        if found and record and _may_leave(found, record.message):
            return found, record
        managed = await self._access.require(request.project_id, MANAGE_ACCESS)
        return managed, _grant_of(managed, request.grant_id)


def _permissions(grant: Grant) -> frozenset[int]:
    return frozenset(map(int, grant.permissions))


def _name(grant: Grant) -> str:
    return f"projects/{grant.project_id}/grants/{grant.grant_id}"


def _find(found: ProjectAccess, grant_id: str) -> Record[Grant] | None:
    return next((g for g in found.view.grants if g.message.grant_id == grant_id), None)


def _grant_of(found: ProjectAccess, grant_id: str) -> Record[Grant]:
    """The grant; NOT_FOUND, told only to those who may list the grants."""
    record = _find(found, grant_id)
    if record is None:
        resource = f"projects/{found.view.project_id}/grants/{grant_id}"
        raise WorkspaceError(
            Reason.ERROR_REASON_NOT_FOUND,
            f"{resource} does not exist; list the grants of the project",
            metadata={"resource": resource},
        )
    return record


def _is_own(found: ProjectAccess, grant: Grant) -> bool:
    return grant.target_type == _USER and grant.target_id == found.user_id


def _may_leave(found: ProjectAccess, grant: Grant) -> bool:
    """One's own needs no right; a machine token needs a scope that manages access."""
    return _is_own(found, grant) and leaves(
        found.view.facts(found.user_id, found.user), MANAGE_ACCESS
    )


def _require_not_revoked(record: Record[Grant]) -> None:
    if record.message.status != _ACTIVE:
        raise invalid_state(_name(record.message), "revoked", "create a new grant")


def _listed(grant: Grant, request: ListGrantsRequest) -> bool:
    if grant.status != (request.status or _ACTIVE):
        return False
    return not request.target_type or grant.target_type == request.target_type
