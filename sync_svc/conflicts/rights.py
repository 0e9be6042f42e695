"""What a decision may give: nobody gives more than he holds, and an owner stays."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Mapping
from typing import TYPE_CHECKING, Any

from google.protobuf.message import Message
from workspace.identity.v1.identity_service_pb2 import BatchGetMembershipsRequest
from workspace.identity.v1.membership_pb2 import ScopeRef

from services.model.errors import Reason, WorkspaceError
from services.model.merging.rules import policy_fields
from services.model.owners import Scope
from services.model.permissions import expand, grantable, permission_names
from services.model.roles import may_assign_role
from services.records.codec import fields_of
from services.records.port import Index, Key
from services.records.record import Record
from services.records.store import RecordStore
from services.rpc.context import current_call
from sync_svc.conflicts.access import ConflictAccess
from sync_svc.conflicts.found import FoundConflict

if TYPE_CHECKING:  # the generated class exists for type checkers only
    from workspace.identity.v1.identity_service_pb2_grpc import IdentityServiceAsyncStub

__all__ = ["Rights"]

_PAGE = 200
_DOCUMENT_LIFE = frozenset(
    {"status", "trashed_at", "trashed_by", "status_before_trash", "purge_after"}
)
"""What everybody who may write a document may change of its life."""


class Rights:
    """Judges the record that a decision makes."""

    def __init__(
        self,
        *,
        records: RecordStore,
        access: ConflictAccess,
        identity: IdentityServiceAsyncStub,
    ) -> None:
        self._records = records
        self._access = access
        self._identity = identity

    async def require(
        self, found: FoundConflict, message: Message, *, deleted: bool
    ) -> None:
        """Raises PERMISSION_DENIED where rights change and the caller is no owner,
        HELD, EXCEEDS_OWN_RIGHTS and LAST_OWNER."""
        if await self._changes_rights(found, message, deleted=deleted):
            await self._access.require_rights(found)
        if deleted or _is_purged(found, message):
            await self._require_no_hold(found)
        if not deleted:
            await self._require_held(found, message)
        scope = Scope.of(found.key.pk)
        if scope is None or found.family.name != scope.family:
            return
        root = await self._root(found)
        members = fields_of(found.family, message)
        if not scope.is_asked(root) or (not deleted and scope.is_owner(members, root)):
            return
        if not await self._has_other(found, scope, root):
            raise _last_owner(found)

    async def _changes_rights(
        self, found: FoundConflict, message: Message, *, deleted: bool
    ) -> bool:
        """Whether a field about rights or existence becomes another than is shown.
        Deleting a document needs no more than `write`, as it does elsewhere."""
        fields = policy_fields(found.family.name)
        item = found.rows.item
        if deleted or item is None or item.deleted or not fields:
            return bool(fields) and deleted and found.family.name != "document"
        shown, after = json.loads(item.body), fields_of(found.family, message)
        free = _DOCUMENT_LIFE if found.family.name == "document" else frozenset[str]()
        return any(shown.get(name) != after.get(name) for name in fields - free)

    async def _require_no_hold(self, found: FoundConflict) -> None:
        """Nothing goes for good under a legal hold of its project or of that one's home."""
        project_id = found.row["project_id"]
        key = Key(f"PROJECT#{project_id}", f"PROJECT#{project_id}")
        rows = (await self._records.rows([key]))[0] if project_id else None
        state = rows.state if rows else None
        bodies = [json.loads(v.body) for v in state.versions.values()] if state else []
        if any(body.get("legal_hold") for body in bodies):
            raise _under_hold(f"projects/{project_id}")
        named = [b.get("account_id") or b.get("workspace_id") for b in bodies]
        homes = sorted({found.row["account_id"], *named} - {None, ""})
        if not homes:
            return
        answer = await self._identity.BatchGetMemberships(
            BatchGetMembershipsRequest(
                user_id=current_call().user_id,
                scopes=[ScopeRef(account_id=each) for each in homes],
            )
        )
        if any(each.fact.legal_hold for each in answer.results):
            raise _under_hold(f"accounts/{homes[0]}")

    async def _require_held(self, found: FoundConflict, message: Any) -> None:
        if found.family.name in ("project_grant", "access_request"):
            held = await self._access.held(found.row["project_id"])
            if not grantable(held, message.permissions):
                over = expand(message.permissions) - held
                raise _exceeds(", ".join(permission_names(over or message.permissions)))
        elif found.family.name == "account_member":
            await self._require_rank(message.account_id, message.role)

    async def _require_rank(self, account_id: str, role: int) -> None:
        answer = await self._identity.BatchGetMemberships(
            BatchGetMembershipsRequest(
                user_id=current_call().user_id, scopes=[ScopeRef(account_id=account_id)]
            )
        )
        own = [each.fact.account_role for each in answer.results if each.HasField("fact")]
        if not answer.is_platform_admin and not (own and may_assign_role(own[0], role)):
            raise _exceeds("a role above your own")

    async def _root(self, found: FoundConflict) -> Mapping[str, Any] | None:
        """What the partition is about: the project, account or team."""
        item = await self._records.get_row(Key(found.key.pk, found.key.pk))
        members: Mapping[str, Any] | None = json.loads(item.body) if item else None
        return members if item is not None and not item.deleted else None

    async def _has_other(
        self, found: FoundConflict, scope: Scope, root: Mapping[str, Any] | None
    ) -> bool:
        """Whether another record of the partition makes an owner."""
        async for record in self._beside(found, scope):
            members = fields_of(found.family, record.message)
            if record.key != found.key and scope.is_owner(members, root):
                return True
        return False

    async def _beside(self, found: FoundConflict, scope: Scope) -> AsyncIterator[Record[Any]]:
        after: str | None = None
        while True:
            page = await self._records.query(
                found.family, Index.BASE, found.key.pk, prefix=scope.prefix, limit=_PAGE,
                after=after,
            )
            for record in page.records:
                yield record
            after = page.next
            if after is None:
                return


def _is_purged(found: FoundConflict, message: Message) -> bool:
    """Whether the decision purges what is shown as something else."""
    item = found.rows.item
    shown = json.loads(item.body) if item is not None and not item.deleted else {}
    after = fields_of(found.family, message)

    def purged(members: Mapping[str, Any]) -> bool:
        return str(members.get("status", "")).endswith("_PURGED") or "purged_at" in members

    return purged(after) and not purged(shown)


def _under_hold(resource: str) -> WorkspaceError:
    return WorkspaceError(
        Reason.ERROR_REASON_HELD,
        f"{resource} is under a legal hold, and the decision removes something of it; choose a "
        "version that stays, or have the hold lifted first",
        metadata={"resource": resource},
    )


def _exceeds(what: str) -> WorkspaceError:
    return WorkspaceError(
        Reason.ERROR_REASON_EXCEEDS_OWN_RIGHTS,
        f"the decision gives more than you hold ({what}); choose the lesser version, or ask an "
        "owner to decide",
        metadata={"permission": what},
    )


def _last_owner(found: FoundConflict) -> WorkspaceError:
    return WorkspaceError(
        Reason.ERROR_REASON_LAST_OWNER,
        "the decision leaves no owner; keep this one, or make another owner first",
        metadata={"resource": found.key.pk.lower().replace("#", "s/", 1)},
    )
