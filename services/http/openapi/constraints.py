"""Bounds of a field for its schema, from its `buf.validate` rules.

One schema serves requests and answers, where an unset field is shown with its
zero value: a bound that zero breaks is widened by it. The server checks more
(cross-field rules); those are in the descriptions.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from buf.validate import validate_pb2
from google.protobuf.descriptor import FieldDescriptor

__all__ = ["constraints_of"]

_FORMATS = ("email", "uri", "uuid")


def constraints_of(field: FieldDescriptor) -> dict[str, Any]:
    """Members to add to the schema of a field."""
    options: Any = field.GetOptions()
    if not options.HasExtension(validate_pb2.field):
        return {}
    rules = options.Extensions[validate_pb2.field]
    kind = rules.WhichOneof("type")
    if kind == "string":
        return dict(_string(rules.string))
    if kind == "repeated":
        return dict(_repeated(rules.repeated))
    if kind in {"int32", "uint32", "int64", "uint64"}:
        return dict(_number(getattr(rules, kind)))
    if kind == "map" and rules.map.HasField("max_pairs"):
        return {"maxProperties": rules.map.max_pairs}
    return {}


def _string(rules: Any) -> Iterator[tuple[str, Any]]:
    if rules.HasField("max_len"):
        yield "maxLength", rules.max_len
    if rules.HasField("pattern"):
        yield "pattern", f"^$|{rules.pattern}"
    for name in _FORMATS:
        if rules.WhichOneof("well_known") == name:
            yield "format", name


def _repeated(rules: Any) -> Iterator[tuple[str, Any]]:
    if rules.HasField("max_items"):
        yield "maxItems", rules.max_items
    if rules.unique:
        yield "uniqueItems", True


def _number(rules: Any) -> Iterator[tuple[str, Any]]:
    if rules.HasField("gte") and rules.gte <= 0:
        yield "minimum", rules.gte
    if rules.HasField("lte"):
        yield "maximum", rules.lte
