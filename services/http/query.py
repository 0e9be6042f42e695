"""Query parameters to a JSON object that `merge_object` takes."""

from __future__ import annotations

import re
from collections.abc import Collection
from typing import Any
from urllib.parse import parse_qsl

from google.protobuf.descriptor import Descriptor, FieldDescriptor

from services.http.errors import HttpError, bad_request
from services.http.transcode import fields_of, is_map

__all__ = ["parse_query"]

_MAX_PARAMETERS = 200
_BROKEN_ESCAPE = re.compile(r"%(?![0-9A-Fa-f]{2})")
_DIGITS = re.compile(r"-?[0-9]{1,10}", re.ASCII)
_LEAVES = frozenset(
    {
        "google.protobuf.Duration",
        "google.protobuf.FieldMask",
        "google.protobuf.StringValue",
        "google.protobuf.Timestamp",
    }
)


def parse_query(
    query: bytes, descriptor: Descriptor, *, bound: Collection[str], body: str
) -> dict[str, Any]:
    """An object with the parameters as members, nested where names have dots.

    `bound` are fields of the path, `body` is that of the rule: neither may be
    set by a parameter. Raises HttpError 400 naming an unknown, a repeated or a
    misplaced parameter.
    """
    result: dict[str, Any] = {}
    for name, text in _pairs(query):
        if name == "access_token":
            raise bad_request(name, "is not taken from the URL; use the Authorization header")
        fields = _resolve(name, descriptor)
        path = ".".join(field.name for field in fields)
        if body == "*" or path in bound or path.split(".")[0] == body:
            raise bad_request(_shown(name), "belongs into the path or the body, not the query")
        _insert(result, fields, text, _shown(name))
    return result


def _pairs(query: bytes) -> list[tuple[str, str]]:
    if not query:
        return []
    try:
        text = query.decode("ascii")
        if _BROKEN_ESCAPE.search(text):
            raise bad_request("query", "has a broken percent escape")
        return parse_qsl(
            text,
            keep_blank_values=True,
            strict_parsing=True,
            errors="strict",
            max_num_fields=_MAX_PARAMETERS,
        )
    except ValueError:
        raise bad_request(
            "query", f"must be name=value pairs in UTF-8, at most {_MAX_PARAMETERS}"
        ) from None


def _shown(name: str) -> str:
    return name[:100].encode("ascii", "backslashreplace").decode()


def _unknown(name: str) -> HttpError:
    return bad_request(_shown(name), "is not a query parameter of this call")


def _resolve(name: str, descriptor: Descriptor) -> list[FieldDescriptor]:
    """The fields that a dotted name leads through; the last one is a leaf."""
    fields: list[FieldDescriptor] = []
    kind: Descriptor | None = descriptor
    for part in name.split("."):
        field = fields_of(kind).get(part) if kind is not None else None
        if field is None:
            raise _unknown(name)
        fields.append(field)
        inner = field.message_type
        nests = inner is not None and not field.is_repeated and inner.full_name not in _LEAVES
        kind = inner if nests else None
    if kind is not None or is_map(fields[-1]):
        raise _unknown(name)
    leaf = fields[-1].message_type
    if leaf is not None and leaf.full_name not in _LEAVES:
        raise _unknown(name)
    return fields


def _insert(result: dict[str, Any], fields: list[FieldDescriptor], text: str, name: str) -> None:
    target = result
    for field in fields[:-1]:
        target = target.setdefault(field.name, {})
    leaf = fields[-1]
    value = _value(text, leaf, name)
    if leaf.is_repeated:
        target.setdefault(leaf.name, []).append(value)
    elif leaf.name in target:
        raise bad_request(name, "is given more than once")
    else:
        target[leaf.name] = value


def _value(text: str, field: FieldDescriptor, name: str) -> Any:
    if field.cpp_type == FieldDescriptor.CPPTYPE_BOOL:
        if text not in {"true", "false"}:
            raise bad_request(name, "must be true or false")
        return text == "true"
    if field.cpp_type == FieldDescriptor.CPPTYPE_ENUM and _DIGITS.fullmatch(text):
        return int(text)
    return text
