"""Random messages of any type, as hypothesis strategies."""

from __future__ import annotations

from typing import Any, cast

from google.protobuf import json_format, message_factory
from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.protobuf.message import Message
from google.protobuf.struct_pb2 import Struct
from hypothesis import strategies as st

_F = FieldDescriptor
_INTS = {
    _F.CPPTYPE_INT32: st.integers(-(2**31), 2**31 - 1),
    _F.CPPTYPE_UINT32: st.integers(0, 2**32 - 1),
    _F.CPPTYPE_INT64: st.integers(-(2**63), 2**63 - 1),
    _F.CPPTYPE_UINT64: st.integers(0, 2**64 - 1),
}
TEXT = st.text(st.characters(codec="utf-8", exclude_characters="\x00"), max_size=12)
_LEAVES = st.none() | st.booleans() | st.integers(-(2**53), 2**53) | TEXT
_JSON = st.recursive(
    _LEAVES,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3),
    max_leaves=6,
)
_SECONDS = st.integers(-62135596800, 253402300799)


@st.composite
def messages(draw: st.DrawFn, kind: Descriptor, depth: int = 0) -> Message:
    """A message of type `kind`, with any of its fields set."""
    message: Any = message_factory.GetMessageClass(kind)()
    if _special(draw, message, kind.full_name):
        return cast("Message", message)
    fields = [field for field in kind.fields if draw(st.booleans())]
    for field in fields:
        if field.message_type is not None and depth > 3:
            continue
        _fill(draw, message, field, depth)
    return cast("Message", message)


def _special(draw: st.DrawFn, message: Any, name: str) -> bool:
    if name == "google.protobuf.Timestamp":
        message.seconds = draw(_SECONDS)
        message.nanos = draw(st.integers(0, 999_999_999))
    elif name == "google.protobuf.Duration":
        sign = draw(st.sampled_from((-1, 1)))
        message.seconds = sign * draw(st.integers(0, 315_576_000_000 - 1))
        message.nanos = sign * draw(st.integers(0, 999_999_999))
    elif name == "google.protobuf.FieldMask":
        message.paths.extend(
            draw(st.lists(st.from_regex(r"[a-z]{1,5}(_[a-z]{1,5}){0,2}", fullmatch=True)))
        )
    elif name == "google.protobuf.Struct":
        json_format.ParseDict(draw(st.dictionaries(TEXT, _JSON, max_size=3)), message)
    else:
        return False
    return True


def _fill(draw: st.DrawFn, message: Any, field: FieldDescriptor, depth: int) -> None:
    inner = field.message_type
    if inner is not None and inner.GetOptions().map_entry:
        _fill_map(draw, getattr(message, field.name), inner, depth)
    elif field.is_repeated:
        target = getattr(message, field.name)
        for _ in range(draw(st.integers(0, 2))):
            target.append(draw(_one(field, depth)))
    elif inner is not None:
        getattr(message, field.name).CopyFrom(draw(messages(inner, depth + 1)))
        getattr(message, field.name).SetInParent()
    else:
        setattr(message, field.name, draw(_one(field, depth)))


def _fill_map(draw: st.DrawFn, target: Any, entry: Descriptor, depth: int) -> None:
    key, value = entry.fields_by_name["key"], entry.fields_by_name["value"]
    for _ in range(draw(st.integers(0, 2))):
        name = draw(_one(key, depth))
        if value.message_type is not None:
            target[name].CopyFrom(draw(messages(value.message_type, depth + 1)))
        else:
            target[name] = draw(_one(value, depth))


def _one(field: FieldDescriptor, depth: int) -> st.SearchStrategy[Any]:
    if field.message_type is not None:
        return messages(field.message_type, depth + 1)
    if field.cpp_type in _INTS:
        return _INTS[field.cpp_type]
    if field.cpp_type == _F.CPPTYPE_BOOL:
        return st.booleans()
    if field.enum_type is not None:
        return st.sampled_from(sorted(field.enum_type.values_by_number))
    if field.cpp_type == _F.CPPTYPE_DOUBLE:
        return st.floats(allow_nan=False, allow_infinity=False)
    assert field.type == _F.TYPE_STRING, field.full_name
    return TEXT


def struct_of(value: dict[str, Any]) -> Struct:
    """A Struct with the members of `value`."""
    struct = Struct()
    struct.update(value)
    return struct
