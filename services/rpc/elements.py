"""How many elements a request has, counted on the wire, before anything is built from it.

Two bytes are an empty element of a list, and more than a kilobyte once it is an object that
is checked against its rules: a message within its size limit may want gigabytes.
Source: the wire format, https://protobuf.dev/programming-guides/encoding/.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from typing import Final

from buf.validate import validate_pb2
from google.protobuf.descriptor import Descriptor, FieldDescriptor

from services.model.errors import WorkspaceError, invalid_field

__all__ = ["MAX_ELEMENTS", "ElementLimit", "allowance", "not_a_message"]

MAX_ELEMENTS: Final = 5_000
"""In the lists and maps of a request, all together; more where the contract allows more."""
_MOST: Final = 50_000
"""Whatever the contract allows: that much is built and checked within tens of megabytes."""
_STRUCT: Final = "google.protobuf.Struct"
_IN_A_STRUCT: Final = 33_000
"""The largest free JSON of the contract is 64 KiB: two bytes for each of its values."""
_FIELDS_OF_AN_ELEMENT: Final = 8
_DEPTH: Final = 100
"""Of nested messages; what protobuf itself reads."""

_VARINT, _FIXED64, _LENGTH, _FIXED32 = 0, 1, 2, 5
_WIDTHS: Final = {
    FieldDescriptor.CPPTYPE_FLOAT: 4, FieldDescriptor.CPPTYPE_DOUBLE: 8,
}  # fmt: skip


@dataclass(slots=True)
class _Field:
    """What is counted for a field: `width` of a packed number (0: none are packed), `most`
    that its own rule lets a list have (0: it has none)."""

    name: str
    repeated: bool
    most: int
    width: int
    inside: Mapping[int, _Field] | None


class _Malformed(Exception):
    """The bytes are no message."""


class ElementLimit:
    """The limit of the requests of one type: `maximum` elements, and `max_fields` fields and
    elements together. `at_most` is for those whose contract does not need more."""

    def __init__(self, descriptor: Descriptor, at_most: int = MAX_ELEMENTS) -> None:
        self.maximum = min(max(at_most, allowance(descriptor)), max(at_most, _MOST))
        self.max_fields = self.maximum * _FIELDS_OF_AN_ELEMENT
        self._plan = _plan(descriptor)

    def check(self, data: bytes) -> None:
        """Raises INVALID_ARGUMENT that names the list which went over the limit, or says
        that these bytes are no message. One look for short ones: an element has a byte."""
        if len(data) > self.maximum:
            try:
                _Walk(data, self).message(0, len(data), self._plan, "", 1)
            except _Malformed:
                raise not_a_message() from None


class _Walk:
    """One pass over the bytes of one request."""

    def __init__(self, data: bytes, limit: ElementLimit) -> None:
        self._data = data
        self._maximum = limit.maximum
        self._max_fields = limit.max_fields
        self._elements = 0
        self._fields = 0

    def message(self, at: int, end: int, plan: Mapping[int, _Field], path: str, depth: int) -> None:
        """Count what lies in `data[at:end]`."""
        if depth > _DEPTH:
            raise _Malformed
        counted: dict[str, int] = {}
        while at < end:
            key, at = self._varint(at, end)
            field, wire = plan.get(key >> 3), key & 7
            self._count_field()
            size, at = self._size(wire, at, end)
            if field is not None:
                if field.repeated:
                    packed = wire == _LENGTH and field.width
                    self._count(field, size // field.width if packed else 1, path, counted)
                if wire == _LENGTH and field.inside is not None:
                    inside = f"{path}{field.name}."
                    self.message(at, at + size, field.inside, inside, depth + 1)
            at += size
        if at != end:
            raise _Malformed

    def _count(self, field: _Field, more: int, path: str, counted: dict[str, int]) -> None:
        self._elements += more
        counted[field.name] = own = counted.get(field.name, 0) + more
        if 0 < field.most < own:
            raise _too_many(path + field.name, field.most, "the list")
        if self._elements > self._maximum:
            raise _too_many(path + field.name, self._maximum)

    def _count_field(self) -> None:
        self._fields += 1
        if self._fields > self._max_fields:
            raise _too_many("request", self._maximum)

    def _size(self, wire: int, at: int, end: int) -> tuple[int, int]:
        """(bytes of the value, where they begin)."""
        if wire == _LENGTH:
            size, at = self._varint(at, end)
        elif wire == _VARINT:
            size = self._varint(at, end)[1] - at
        elif wire in {_FIXED64, _FIXED32}:
            size = 8 if wire == _FIXED64 else 4
        else:
            raise _Malformed  # groups are of proto2
        if at + size > end:
            raise _Malformed
        return size, at

    def _varint(self, at: int, end: int) -> tuple[int, int]:
        value = shift = 0
        while at < end and shift < 70:
            byte = self._data[at]
            at += 1
            value |= (byte & 0x7F) << shift
            if byte < 0x80:
                return value, at
            shift += 7
        raise _Malformed


def not_a_message() -> WorkspaceError:
    """INVALID_ARGUMENT: what came cannot be decoded."""
    return invalid_field(
        "request",
        "is not a valid message of this method; generate the client from the current schema",
    )


def _too_many(field: str, maximum: int, what: str = "a request") -> WorkspaceError:
    return invalid_field(
        field, f"{what} holds at most {maximum} elements; send them in several requests"
    )


@cache
def allowance(descriptor: Descriptor) -> int:
    """How many elements the rules of the schema let a message of this type have."""
    return _allowed(descriptor, frozenset())


def _allowed(descriptor: Descriptor, outside: frozenset[str]) -> int:
    if descriptor.full_name == _STRUCT:
        return _IN_A_STRUCT
    if descriptor.full_name in outside:
        return 0
    outside |= {descriptor.full_name}
    total = 0
    for field in descriptor.fields:
        inside = _allowed(field.message_type, outside) if field.message_type else 0
        total += _most(field) * (1 + inside) if field.is_repeated else inside
    return total


def _most(field: FieldDescriptor) -> int:
    rules = field.GetOptions().Extensions[validate_pb2.field]
    return int(rules.repeated.max_items or rules.map.max_pairs)


@cache
def _plan(descriptor: Descriptor) -> Mapping[int, _Field]:
    """The fields by number; one plan for each type, so that recursive ones end."""
    found: dict[str, dict[int, _Field]] = {}

    def of(kind: Descriptor) -> dict[int, _Field]:
        if kind.full_name not in found:
            plan = found[kind.full_name] = {}
            for field in kind.fields:
                inside = of(field.message_type) if field.message_type is not None else None
                plan[field.number] = _Field(
                    field.name, field.is_repeated, _most(field), _width(field), inside
                )
        return found[kind.full_name]

    return of(descriptor)


def _width(field: FieldDescriptor) -> int:
    """The least bytes of a packed value; 0 for text, bytes and messages."""
    if field.cpp_type in {FieldDescriptor.CPPTYPE_STRING, FieldDescriptor.CPPTYPE_MESSAGE}:
        return 0
    return _WIDTHS.get(field.cpp_type, 1)
