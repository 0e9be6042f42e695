"""Answers that are too large for a request row are kept as keys.

A request row keeps at most 16 KiB of an answer. Of a larger one, each record is
cut to the key fields of its family: a replay reads the records again, as they
are then. Lists of other values are left out when that is not enough; who
answers with such lists gives `Mutations.begin` a `decorate` that fills them in.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator, Mapping
from typing import Any

from google.protobuf.message import Message

from services.model.errors import Reason, WorkspaceError
from services.model.families import FAMILIES, Family
from services.records.port import Key
from services.records.record import Record

__all__ = ["ANSWER_LIMIT", "complete", "storable"]

Read = Callable[[Family, Key], Awaitable[Record[Any] | None]]

ANSWER_LIMIT = 16 * 1024
"""Bytes of a stored answer."""

# The key of an activity event is not made of its own fields.
_RECORDS: Mapping[str, Family] = {
    family.message.DESCRIPTOR.full_name: family
    for family in FAMILIES.values()
    if family.owner != "kernel"
}
_OURS = "workspace."


def storable(answer: Message) -> tuple[bytes, bool]:
    """What a request row keeps of the answer, and whether something was cut.

    Raises INTERNAL for an answer that is too large even so.
    """
    data = answer.SerializeToString(deterministic=True)
    if len(data) <= ANSWER_LIMIT:
        return data, False
    cut = type(answer)()
    cut.CopyFrom(answer)
    for family, record in list(_records(cut)):
        _keep(record, _key_fields(family))
    if cut.ByteSize() > ANSWER_LIMIT:
        _drop_lists(cut)
    data = cut.SerializeToString(deterministic=True)
    if len(data) > ANSWER_LIMIT:
        raise WorkspaceError(
            Reason.ERROR_REASON_INTERNAL, "the answer is too large for its request row"
        )
    return data, True


async def complete(read: Read, answer: Message) -> None:
    """Read the records of an answer that was cut again (`RecordStore.get`). One
    that is not there any more keeps its key fields."""
    for family, part in list(_records(answer)):
        record = await read(family, Key(*family.key_of(part)))
        if record is not None:
            part.CopyFrom(record.shown())


def _records(message: Message) -> Iterator[tuple[Family, Message]]:
    """Every record in the message, at any depth, with its family."""
    for field, value in message.ListFields():
        kind = field.message_type
        if kind is None or not kind.full_name.startswith(_OURS) or kind.GetOptions().map_entry:
            continue
        for part in value if field.is_repeated else [value]:
            family = _RECORDS.get(kind.full_name)
            if family is None:
                yield from _records(part)
            else:
                yield family, part


def _key_fields(family: Family) -> frozenset[str]:
    return frozenset(name for key in (*family.pk, family.sk) for name in key.fields)


def _keep(message: Message, names: frozenset[str]) -> None:
    for field, _ in message.ListFields():
        if field.name not in names:
            message.ClearField(field.name)


def _drop_lists(message: Any) -> None:
    for field, _ in message.ListFields():
        if field.is_repeated:
            message.ClearField(field.name)
