"""Messages to stored bodies and back.

A body is the canonical JSON of the message's content, with proto field names.
Members that this version does not know are kept (a newer node wrote them):
writing patches what was read instead of replacing it.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import cache
from typing import Any, TypeVar

from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.protobuf.json_format import MessageToDict, ParseDict
from google.protobuf.message import Message

from services.model.canonical import canonical_json
from services.model.families import Family
from services.model.merging.content import content_of

__all__ = ["as_decoded", "content_of", "decode", "encode", "fields_of"]

M = TypeVar("M", bound=Message)
_NEVER_STORED = ("etag",)
_FRACTIONS = (FieldDescriptor.CPPTYPE_DOUBLE, FieldDescriptor.CPPTYPE_FLOAT)


def fields_of(family: Family, message: Message) -> dict[str, Any]:
    """The members to store: populated fields without server-computed ones."""
    members: dict[str, Any] = MessageToDict(message, preserving_proto_field_name=True)
    for name in (*_NEVER_STORED, *family.computed):
        members.pop(name, None)
    return members


def encode(family: Family, message: Message, before: Mapping[str, Any]) -> dict[str, Any]:
    """Body members of `message`, patched onto `before` (a parsed body)."""
    known = family.message.DESCRIPTOR.fields_by_name
    unknown = {name: value for name, value in before.items() if name not in known}
    return unknown | fields_of(family, message)


def decode(message_type: type[M], body: str) -> M:
    """The message of a stored body; unknown members are passed over here."""
    message = message_type()
    if body:
        ParseDict(json.loads(body), message, ignore_unknown_fields=True)
    return message


def as_decoded(family: Family, message: M, *, deleted: bool = False) -> M | None:
    """A copy of `message` as `decode` makes it of the body that was written for
    it; None where only decoding tells, because it has fractions or free JSON (-0.0
    is read back as 0.0, a Value of no kind as null)."""
    copy = type(message)()
    if deleted:
        return copy
    copy.CopyFrom(message)
    for name in (*_NEVER_STORED, *family.computed):
        if name in copy.DESCRIPTOR.fields_by_name:
            copy.ClearField(name)
    exact = _exact_fields(copy.DESCRIPTOR)
    if any(field.number not in exact for field, _ in copy.ListFields()):
        return None
    copy.DiscardUnknownFields()
    return copy


@cache
def _exact_fields(descriptor: Descriptor) -> frozenset[int]:
    """Numbers of the fields that JSON gives back bit by bit."""
    return frozenset(field.number for field in descriptor.fields if _is_exact(field, ()))


def _is_exact(field: FieldDescriptor, above: tuple[str, ...]) -> bool:
    inside = field.message_type
    if inside is None:
        return field.cpp_type not in _FRACTIONS
    if inside.full_name == "google.protobuf.Timestamp" or inside.full_name in above:
        return True
    if inside.file.package == "google.protobuf":
        return False
    return all(_is_exact(each, (*above, inside.full_name)) for each in inside.fields)


def dump(members: Mapping[str, Any]) -> str:
    """Canonical JSON text of body members."""
    return canonical_json(dict(members))
