"""A hand-written sync of a few lines: it shows that the simulator lets a right engine
pass, and that Replica.join is enough for one."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Sequence

from services.model.errors import Reason, WorkspaceError
from services.model.families import FAMILIES
from services.model.object_names import held_file
from services.objects.store import ObjectStore
from services.records.conflict_rows import Found
from services.records.port import ABSENT, ConditionFailed, Item, Key, Match, Put
from services.records.replica import Incoming
from sync_svc.engine.task import Task
from sync_svc.surfaces.surface import Surface

__all__ = ["SimpleSync"]


class SimpleSync:
    """Everything that changed since the cursor, objects first, cursor last. It does
    not notice restores."""

    async def run(self, task: Task) -> None:
        cursor = await self.load(task)
        tail, items = await self.changed(task, cursor)
        incoming = await self.read(task.source, items)
        incoming = [each for each in incoming if await self.objects(task, each)]
        await self.join(task.source, task.target, incoming)
        await self.store(task, tail)

    async def changed(self, task: Task, cursor: str | None) -> tuple[str, list[Item]]:
        items: list[Item] = []
        while True:
            page = await task.source.records.changes(cursor, 50)
            items += [item for item in page.items if _synced(item)]
            cursor = page.cursor
            if page.complete or not page.items:
                return cursor, items

    async def read(self, source: Surface, items: Sequence[Item]) -> list[Incoming]:
        keys = sorted({item.key for item in items})
        states = await source.replica.states(keys) if keys else []
        return [Incoming(k, s) for k, s in zip(keys, states, strict=True) if s is not None]

    async def join(self, source: Surface, target: Surface, incoming: Sequence[Incoming]) -> None:
        parts: dict[str, list[Incoming]] = defaultdict(list)
        for each in incoming:
            parts[each.key.pk].append(each)
        for pk, part in parts.items():
            await target.replica.join(
                pk, part, origin=source.instance.instance_id, found=Found(0)
            )

    async def objects(self, task: Task, each: Incoming) -> bool:
        """The bytes are at the target, or are brought there."""
        for version in each.state.versions.values():
            file = held_file(json.loads(version.body))
            if file is not None and each.state.family == "document":
                await _copy(task.source.objects, task.target.objects, file["storage_key"])
        return True

    async def load(self, task: Task) -> str | None:
        item = await task.local.records.get_row(self._key(task))
        return json.loads(item.body)["cursor"] if item else None

    async def store(self, task: Task, cursor: str) -> None:
        item = await task.local.records.get_row(self._key(task))
        body = json.dumps({"cursor": cursor})
        condition = Match(item.token) if item else ABSENT
        try:
            await task.local.records.put_row(
                Put(self._key(task), condition, "sync_state", body)
            )
        except ConditionFailed as failed:
            raise WorkspaceError(Reason.ERROR_REASON_CONFLICTING_WRITE, "again") from failed

    @staticmethod
    def _key(task: Task) -> Key:
        return Key(f"SYNC#{task.connection.connection_id}", f"STATE#{task.direction}")


async def _copy(source: ObjectStore, target: ObjectStore, key: str) -> None:
    try:
        await target.head(key)
    except WorkspaceError as error:
        if error.reason != Reason.ERROR_REASON_NOT_FOUND:
            raise
        info = await source.head(key)
        await target.write(
            key, source.open_read(key), size=info.size, sha256=info.sha256,
            content_type=info.content_type,
        )


def _synced(item: Item) -> bool:
    family = FAMILIES.get(item.family)
    return family is not None and family.synced
