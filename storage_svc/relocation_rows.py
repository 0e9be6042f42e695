"""The row of a project's latest relocation: how far it is."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass

from google.protobuf.json_format import MessageToDict, ParseDict
from workspace.storage.v1.relocation_pb2 import Relocation, RelocationStatus

from services.records.port import ABSENT, ConditionFailed, Item, Key, Match, Put
from services.records.store import RecordStore
from storage_svc.old_objects import relocation_pk

__all__ = ["RelocationRows", "State", "has_ended"]

_ENDED = frozenset(
    {
        RelocationStatus.RELOCATION_STATUS_SUCCEEDED,
        RelocationStatus.RELOCATION_STATUS_FAILED,
    }
)


def has_ended(relocation: Relocation) -> bool:
    """Whether it changes no more."""
    return relocation.status in _ENDED


@dataclass(slots=True)
class State:
    """A relocation as read; `version` counts its changes."""

    relocation: Relocation
    version: int
    item: Item | None

    def shown(self) -> Relocation:
        """A copy for an answer, with the etag."""
        copy = Relocation()
        copy.CopyFrom(self.relocation)
        text = f"{copy.relocation_id} {self.version}"
        copy.etag = hashlib.sha256(text.encode()).hexdigest()[:32]
        return copy


class RelocationRows:
    """Reads and conditionally writes the row."""

    def __init__(self, records: RecordStore) -> None:
        self._records = records

    async def load(self, project_id: str) -> State | None:
        """The latest relocation of a project, if there ever was one."""
        item = await self._records.get_row(_key(project_id))
        if item is None:
            return None
        row = json.loads(item.body)
        return State(ParseDict(row["relocation"], Relocation()), row["version"], item)

    async def save(self, state: State) -> bool:
        """Write what changed; False when somebody else wrote since."""
        condition = ABSENT if state.item is None else Match(state.item.token)
        members = MessageToDict(state.relocation, preserving_proto_field_name=True)
        body = json.dumps({"version": state.version + 1, "relocation": members})
        key = _key(state.relocation.project_id)
        try:
            await self._records.put_row(Put(key, condition, "relocation", body))
        except ConditionFailed:
            return False
        state.version += 1
        state.item = await self._records.get_row(key)
        return True


def _key(project_id: str) -> Key:
    return Key(relocation_pk(project_id), "STATE")
