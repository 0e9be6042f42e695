"""ResolveConflict: an ordinary edit that supersedes exactly the versions named.

1. Only for `both`: each loser becomes a document of its own (project_svc; ids derive
   from the request id, so a repeat makes the same ones).
2. One commit: the record with the decision, the versions that go, the conflict row.

A version that arrived meanwhile is in neither and stays, in a new conflict.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from google.protobuf.json_format import ParseDict
from google.protobuf.message import Message
from workspace.sync.v1.conflict_pb2 import ConflictStatus
from workspace.sync.v1.sync_service_pb2 import (
    ResolveConflictRequest,
    ResolveConflictResponse,
)

from services.kernel import Kernel
from services.model.errors import Reason, WorkspaceError, invalid_field
from services.model.ids import NO_PROJECT
from services.model.shown import conflict_id, shown_of
from services.model.stamp import Dot, etag_of
from services.model.times import from_micros, to_timestamp
from services.model.versions import Version
from services.records.codec import decode, fields_of
from services.records.deciding import deciding
from services.records.instance import read_instance
from services.records.mutation import Mutation
from services.records.record import Activity, Record, Write
from services.records.replica import Incoming
from services.rpc.context import current_call
from services.rpc.validation import Validator, invalid_request
from sync_svc.conflicts.access import ConflictAccess, refuse_unknown, resource_of
from sync_svc.conflicts.choices import Decision, decide, require_kind
from sync_svc.conflicts.copies import LoserCopies
from sync_svc.conflicts.found import FoundConflict, conflict_of, find, refreshed
from sync_svc.conflicts.listing import Conflicts
from sync_svc.conflicts.merging import merged_members
from sync_svc.conflicts.rights import Rights
from sync_svc.conflicts.shape import as_struct, dot_message, live_versions, outline
from sync_svc.engine.objects import expect_objects
from sync_svc.surfaces.surface import Surface

__all__ = ["Resolving"]


@dataclass(frozen=True, slots=True)
class _Prepared:
    """A decision that may be made: the record as read, and what it becomes."""

    found: FoundConflict
    decision: Decision
    base: Record[Any] | None
    message: Message


class Resolving:
    """The use case of ResolveConflict."""

    def __init__(
        self,
        *,
        kernel: Kernel,
        access: ConflictAccess,
        conflicts: Conflicts,
        copies: LoserCopies,
        rights: Rights,
    ) -> None:
        self._kernel = kernel
        self._records = kernel.records
        self._access = access
        self._conflicts = conflicts
        self._copies = copies
        self._rights = rights
        self._validator = Validator()

    async def resolve(self, request: ResolveConflictRequest) -> ResolveConflictResponse:
        """See the module. Raises PERMISSION_DENIED, EXCEEDS_OWN_RIGHTS, INVALID_FIELD,
        INVALID_STATE, LAST_OWNER, ETAG_MISMATCH."""
        mutation = self._kernel.mutations.begin(request)
        found = await find(self._records, request.conflict_id)
        if found is None:
            await self._access.held(NO_PROJECT)  # takes the time of one of others
            raise refuse_unknown(request.conflict_id)
        await self._access.require_decide(found)
        done = await mutation.replay(found.key.pk, ResolveConflictResponse)
        if done is not None:
            return done
        if request.dry_run:
            return await self._dry(await self._prepare(found, request))
        return await deciding(lambda: self._attempt(mutation, request))

    async def _attempt(
        self, mutation: Mutation, request: ResolveConflictRequest
    ) -> ResolveConflictResponse:
        found = await find(self._records, request.conflict_id)
        if found is None:
            raise _over(request.conflict_id)
        pk = found.key.pk
        head = await self._records.head(pk)
        prepared = await self._prepare(found, request)
        await self._require_rights(prepared)
        await self._expect_objects(prepared.found)
        made = await self._copies.make(
            prepared.found, prepared.decision.losers, name=request.resolution.both.name,
            seed=mutation.new_id("d"),
        )
        shows = await self._access.may_see(prepared.found)
        answer = await mutation.commit(
            pk,
            [_write(prepared)],
            activity=_activity(prepared, request.note),
            answer=lambda records: self._answer(prepared, records, made, shows=shows),
            if_head=head,
            still=lambda: self._still(prepared),
        )
        await self._close(prepared.found)
        return answer

    async def _prepare(
        self, found: FoundConflict, request: ResolveConflictRequest
    ) -> _Prepared:
        named = _named(found, request)
        live = live_versions(found)
        _require_live(found, named, live, request.etag)
        require_kind(found.row["kind"], request.resolution)
        versions = [each for each in live if each.dot in named]
        state = found.rows.state
        decision = decide(
            found.family,
            versions,
            merged_members(found.family, versions),
            request.resolution,
            # Between surfaces, ours is what is here, whoever wrote it.
            instance_id="" if found.held else self._kernel.instance_id,
            shown=shown_of(found.family, state).version.dot if state else None,
        )
        base = await self._records.get(found.family, found.key, deleted=True)
        return _Prepared(found, decision, base, self._message(found, decision, base, versions))

    def _message(
        self,
        found: FoundConflict,
        decision: Decision,
        base: Record[Any] | None,
        versions: Sequence[Version],
    ) -> Message:
        """The record as it becomes; of a deletion, what has its key."""
        family = found.family
        if decision.members is None:
            live = [each for each in versions if not each.deleted]
            return base.edit() if base and not base.deleted else decode(
                family.message, live[0].body
            )
        message = family.message()
        ParseDict(dict(decision.members), message, ignore_unknown_fields=True)
        if family.key_of(message) != (found.key.pk, found.key.sk):
            raise invalid_field("resolution", "must not change the ids of the record")
        if broken := self._validator.violations(message):
            raise invalid_request(broken)
        _complete(message, base, family.local_fields, self._kernel.now())
        return message

    async def _dry(self, prepared: _Prepared) -> ResolveConflictResponse:
        await self._require_rights(prepared)
        if not await self._access.may_see(prepared.found):  # decides, and reads nothing
            instance = self._kernel.instance_id
            return ResolveConflictResponse(conflict=outline(prepared.found, instance_id=instance))
        answer = ResolveConflictResponse(conflict=await self._conflicts.whole(prepared.found))
        if prepared.decision.members is not None:
            shown = fields_of(prepared.found.family, prepared.message)
            answer.result.update(shown)
        return answer

    async def _still(self, prepared: _Prepared) -> None:
        await self._access.require_decide(prepared.found)
        await self._require_rights(prepared)

    async def _require_rights(self, prepared: _Prepared) -> None:
        deleted = prepared.decision.members is None
        await self._rights.require(prepared.found, prepared.message, deleted=deleted)

    def _answer(
        self,
        prepared: _Prepared,
        records: Sequence[Record[Any]],
        made: Sequence[str],
        *,
        shows: bool,
    ) -> ResolveConflictResponse:
        """`shows`: the caller may read the record, too, not only decide."""
        (record,) = records
        conflict = outline(prepared.found, instance_id=self._kernel.instance_id)
        conflict.ClearField("versions")
        conflict.ClearField("etag")
        conflict.status = ConflictStatus.CONFLICT_STATUS_RESOLVED
        conflict.resolved_by = current_call().user_id
        conflict.resolved_at.CopyFrom(to_timestamp(from_micros(int(self._kernel.now() * 1e6))))
        answer = ResolveConflictResponse(conflict=conflict, new_document_ids=made)
        answer.dot.CopyFrom(dot_message(record.stamp.dot))
        if record.stamp.siblings:
            answer.remaining_conflict_id = conflict_id(
                record.key.pk, record.key.sk, record.stamp.siblings
            )
        if not record.deleted and shows:
            answer.result.CopyFrom(as_struct(record.item.body))
        return answer

    async def _expect_objects(self, found: FoundConflict) -> None:
        """The next run over its connection brings the bytes of a version that was held
        aside; before the commit, so that a crash does not lose the note."""
        if found.held is None:
            return
        kernel = self._kernel
        instance = await read_instance(kernel.records.driver)
        if instance is None:
            return
        here = Surface("", instance, kernel.records, kernel.objects)
        await expect_objects(
            here, [Incoming(found.key, found.held)], connection_id=found.row["connection_id"],
            now_ms=int(kernel.now() * 1000),
        )

    async def _close(self, found: FoundConflict) -> None:
        """The row of a version that was held aside is none of the commit's own rows."""
        if found.held is not None:
            fresh = await conflict_of(self._records, found.item)
            await refreshed(
                self._records, fresh, now_ms=int(self._kernel.now() * 1000),
                user_id=current_call().user_id,
            )


def _named(found: FoundConflict, request: ResolveConflictRequest) -> tuple[Dot, ...]:
    """The versions to supersede. Raises INVALID_FIELD for one of another conflict."""
    asked = tuple((dot.actor, dot.counter) for dot in request.resolves)
    for dot in asked:
        if dot not in found.dots:
            raise invalid_field("resolves", f"{dot[0]}:{dot[1]} is no version of this conflict")
    return asked or tuple(found.dots)


def _require_live(
    found: FoundConflict, named: Sequence[Dot], live: Sequence[Version], etag: str
) -> None:
    """Raises INVALID_STATE when it was decided, ETAG_MISMATCH when a version is gone."""
    dots = {each.dot for each in live}
    if dots.isdisjoint(found.dots) or (not found.is_open and found.row.get("resolved_by")):
        raise _over(found.row["conflict_id"])
    key = f"{found.key.pk} {found.key.sk}"
    if not dots.issuperset(named) or (etag and etag != etag_of(key, *dots)):
        raise WorkspaceError(
            Reason.ERROR_REASON_ETAG_MISMATCH,
            "the versions of this conflict changed since it was read; read it again and repeat",
            metadata={"resource": resource_of(found.row["conflict_id"])},
        )


def _over(conflict: str) -> WorkspaceError:
    return WorkspaceError(
        Reason.ERROR_REASON_INVALID_STATE,
        f"{resource_of(conflict)} was resolved before; list conflicts to see what is open",
        metadata={"resource": resource_of(conflict), "state": "resolved"},
    )


def _complete(
    message: Message, base: Record[Any] | None, local_fields: frozenset[str], now: float
) -> None:
    """What no version brings: fields of this surface alone, and who decided when."""
    names = message.DESCRIPTOR.fields_by_name
    for name in local_fields:
        if base is not None and not base.deleted:
            setattr(message, name, getattr(base.message, name))
    if "updated_by" in names:
        message.updated_by = current_call().user_id  # type: ignore[attr-defined]
    if "updated_at" in names:
        stamp = to_timestamp(from_micros(int(now * 1e6)))
        message.updated_at.CopyFrom(stamp)  # type: ignore[attr-defined]


def _write(prepared: _Prepared) -> Write[Any]:
    return Write(
        prepared.found.family,
        prepared.message,
        base=prepared.base,
        deleted=prepared.decision.members is None,
        resolves=prepared.decision.supersedes,
        joins=prepared.found.held,
    )


def _activity(prepared: _Prepared, note: str) -> Activity:
    row = prepared.found.row
    return Activity(
        "conflict.resolved", resource_of(row["conflict_id"]), account_id=row["account_id"],
        project_id=row["project_id"], note=note,
    )
