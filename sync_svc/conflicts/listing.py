"""ListConflicts and GetConflict."""

from __future__ import annotations

import json
from dataclasses import dataclass

from workspace.sync.v1.conflict_pb2 import Conflict, ConflictKind, ConflictStatus, ConflictVersion
from workspace.sync.v1.sync_service_pb2 import (
    GetConflictRequest,
    GetConflictResponse,
    ListConflictsRequest,
    ListConflictsResponse,
)

from services.kernel import Kernel
from services.model.errors import WorkspaceError, permission_denied
from services.model.ids import NO_PROJECT
from services.model.object_names import NAMING_FAMILIES, object_names
from services.model.permissions import VIEW
from services.model.versions import Version
from services.records.conflict_rows import ALL, list_prefix
from services.records.port import Index, Item, ItemPage
from services.rpc.context import current_call
from services.rpc.page_tokens import page_size
from sync_svc.conflicts.access import ACCESS_FAMILIES, ConflictAccess, resource_of
from sync_svc.conflicts.base import common_base
from sync_svc.conflicts.found import FoundConflict, conflict_of, find, refreshed
from sync_svc.conflicts.merging import merged_members
from sync_svc.conflicts.shape import as_struct, live_versions, outline, version_message

__all__ = ["Conflicts"]

_METHOD = "workspace.sync.v1.SyncService/ListConflicts"
_LOOKED_AT = 2000
_RUN = 200


@dataclass(frozen=True, slots=True)
class _Where:
    """An index partition that has the rows asked for."""

    index: Index
    partition: str


class Conflicts:
    """What people must decide, as far as the caller may see it."""

    def __init__(self, *, kernel: Kernel, access: ConflictAccess) -> None:
        self._kernel = kernel
        self._records = kernel.records
        self._access = access

    async def page(self, request: ListConflictsRequest) -> ListConflictsResponse:
        """One page, newest first. Raises PERMISSION_DENIED for a named project that
        the caller may not view."""
        caller = current_call().user_id
        tokens = self._kernel.page_tokens
        position = tokens.open(_METHOD, caller, request, request.page_token)
        where = await self._where(request)
        wanted, answer, looked = page_size(request), ListConflictsResponse(), 0
        seen: dict[str, bool] = {}
        while len(answer.conflicts) < wanted and looked < _LOOKED_AT:
            page = await self._page(where, request, position or None, wanted)
            for item in page.items:
                looked += 1
                conflict = await self._shown(await conflict_of(self._records, item), request, seen)
                if conflict is not None:
                    answer.conflicts.append(conflict)
            position = page.next or ""
            if not position:
                return answer
        answer.next_page_token = tokens.issue(_METHOD, caller, request, position)
        return answer

    async def get(self, request: GetConflictRequest) -> GetConflictResponse:
        """One conflict with bodies, base and merge. Raises PERMISSION_DENIED."""
        found = await self.require(request.conflict_id)
        return GetConflictResponse(conflict=await self.whole(found))

    async def require(self, conflict: str) -> FoundConflict:
        """The conflict, if the caller may see it; else PERMISSION_DENIED, as for one
        that does not exist."""
        found = await find(self._records, conflict)
        if found is None:
            await self._access.held(NO_PROJECT)  # takes the time of one of others
        if found is None or not await self._access.may_see(found):
            raise permission_denied("view", resource_of(conflict))
        return await refreshed(self._records, found, now_ms=int(self._kernel.now() * 1000))

    async def of_project(
        self, project_id: str, after: str | None, *, page_size: int
    ) -> tuple[list[Conflict], str]:
        """Open conflicts of a project, newest first, and where to go on ('': the end).
        For a caller who was found to hold what is needed."""
        where = _Where(Index.PROJECT, f"PROJECT#{project_id}")
        page = await self._page(where, ListConflictsRequest(), after, page_size)
        found = [await self._fresh(item) for item in page.items]
        instance = self._kernel.instance_id
        listed = [outline(each, instance_id=instance) for each in found if each.is_open]
        return listed, page.next or ""

    async def count_open(self, project_id: str) -> int:
        """Open conflicts of a project."""
        after: str | None = None
        total = 0
        where = _Where(Index.PROJECT, f"PROJECT#{project_id}")
        while True:
            page = await self._page(where, ListConflictsRequest(), after, _RUN)
            total += len(page.items)
            after = page.next
            if after is None:
                return total

    async def _fresh(self, item: Item) -> FoundConflict:
        found = await conflict_of(self._records, item)
        return await refreshed(self._records, found, now_ms=int(self._kernel.now() * 1000))

    async def whole(self, found: FoundConflict) -> Conflict:
        """With bodies, base and merge."""
        conflict = outline(found, instance_id=self._kernel.instance_id)
        if not found.is_open:
            return conflict
        versions = live_versions(found)
        for message, version in zip(conflict.versions, versions, strict=True):
            if not version.deleted:
                message.body.CopyFrom(as_struct(version.body))
            message.objects_available = await self._has_objects(found, version)
        members = merged_members(found.family, versions)
        conflict.merged.update(members)
        base = await common_base(self._records, found, versions)
        if base is not None:
            conflict.base.CopyFrom(self._base(base))
        return conflict

    def _base(self, version: Version) -> ConflictVersion:
        message = version_message(version, instance_id=self._kernel.instance_id)
        message.body.CopyFrom(as_struct(version.body))
        return message

    async def _where(self, request: ListConflictsRequest) -> _Where:
        if not request.project_id:
            return _Where(Index.USER, ALL)
        held = await self._access.held(request.project_id)
        if VIEW not in held and not await self._access.is_platform_admin():
            raise permission_denied("view", f"projects/{request.project_id}")
        return _Where(Index.PROJECT, f"PROJECT#{request.project_id}")

    async def _page(
        self, where: _Where, request: ListConflictsRequest, after: str | None, wanted: int
    ) -> ItemPage:
        resolved = request.status == ConflictStatus.CONFLICT_STATUS_RESOLVED
        prefix = list_prefix("resolved" if resolved else "open")
        return await self._records.run(
            where.index, where.partition, lower=prefix, upper=prefix + "~",
            limit=min(_RUN, wanted), after=after, descending=True,
        )

    async def _shown(
        self,
        found: FoundConflict,
        request: ListConflictsRequest,
        seen: dict[str, bool],
    ) -> Conflict | None:
        """The conflict if it fits the filters, is what its row says, and may be seen."""
        row = found.row
        kind = f"CONFLICT_KIND_{row['kind'].upper()}"
        if request.kind and ConflictKind.Name(request.kind) != kind:
            return None
        if request.document_id and row["document_id"] != request.document_id:
            return None
        subject = f"{row['account_id']} {found.key.pk}"
        if row["project_id"]:
            subject = f"{row['project_id']} {row['family'] in ACCESS_FAMILIES}"
        if subject not in seen:
            seen[subject] = await self._access.may_list(found)
        if not seen[subject]:
            return None
        now = await refreshed(self._records, found, now_ms=int(self._kernel.now() * 1000))
        if now.is_open != found.is_open:
            return None
        return await self._named(outline(now, instance_id=self._kernel.instance_id))

    async def _named(self, conflict: Conflict) -> Conflict:
        """Without its name where a platform administrator may not view."""
        project_id = conflict.project_id
        if project_id and VIEW not in await self._access.held(project_id):
            conflict.ClearField("name")
        return conflict

    async def _has_objects(self, found: FoundConflict, version: Version) -> bool:
        if found.family.name not in NAMING_FAMILIES:
            return True
        for key in object_names(json.loads(version.body)):
            try:
                await self._kernel.objects.head(key)
            except WorkspaceError:
                return False
        return True

