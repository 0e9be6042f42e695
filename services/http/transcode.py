"""Strict proto3 JSON: bytes to message, message to bytes.

Stricter than `google.protobuf.json_format` (measured gaps in parentheses):
members given twice in two spellings (last one wins there), NUL characters,
`1_0` as an integer, non-finite numbers, numbers of a Struct that lose digits.
Every refusal names the member by its path and never repeats its value.
As the proto3 JSON specification says, `1.0` is a good integer, `null` means
"not set", integers may be strings, and enum values are names or numbers.
"""

from __future__ import annotations

import json
import math
import re
from collections import Counter
from collections.abc import Callable
from functools import lru_cache
from typing import Any, cast

from google.protobuf import json_format
from google.protobuf.descriptor import Descriptor, EnumDescriptor, FieldDescriptor
from google.protobuf.duration_pb2 import Duration
from google.protobuf.message import Message
from google.protobuf.timestamp_pb2 import Timestamp

from services.http.errors import HttpError, bad_request

__all__ = ["MAX_DEPTH", "fields_of", "is_map", "load_object", "merge_object", "to_json"]

MAX_DEPTH = 100
"""Nested objects and arrays of a body."""
_MAX_FREE_DEPTH = 30
"""Inside of a Struct: each level is three in binary, where 100 is the end."""

_F = FieldDescriptor
_BOM = b"\xef\xbb\xbf"
_INTEGER = re.compile(r"-?[0-9]{1,20}", re.ASCII)
_MASK_PATH = re.compile(r"[a-z][A-Za-z0-9_]*(?:\.[a-z][A-Za-z0-9_]*)*", re.ASCII)
_RANGES = {
    _F.CPPTYPE_INT32: (-(2**31), 2**31 - 1),
    _F.CPPTYPE_UINT32: (0, 2**32 - 1),
    _F.CPPTYPE_INT64: (-(2**63), 2**63 - 1),
    _F.CPPTYPE_UINT64: (0, 2**64 - 1),
}
_WRAPPERS = frozenset(
    f"google.protobuf.{kind}Value"
    for kind in ("Double", "Float", "Int64", "UInt64", "Int32", "UInt32", "Bool", "String", "Bytes")
)


def load_object(raw: bytes) -> dict[str, Any]:
    """The JSON object in `raw`. Raises HttpError 400; member names may repeat nowhere."""
    if raw.startswith(_BOM):
        raise bad_request("body", "begins with a byte order mark; remove it")
    try:
        value = json.loads(
            raw.decode("utf-8"), object_pairs_hook=_unique, parse_constant=_no_constant
        )
    except RecursionError:
        raise _too_deep("body") from None
    except UnicodeDecodeError:
        raise bad_request("body", "is not UTF-8") from None
    except json.JSONDecodeError as error:
        where = f"line {error.lineno} column {error.colno}"
        raise bad_request("body", f"is not JSON: {error.msg} at {where}") from None
    except ValueError:
        raise bad_request("body", "has a number with too many digits") from None
    if not isinstance(value, dict):
        raise bad_request("body", "must be a JSON object")
    return value


def merge_object(value: dict[str, Any], message: Message, path: str = "") -> None:
    """Set the members of `value` in `message`. `path` is the prefix of field
    names in errors. Raises HttpError 400 naming the member."""
    checked = _message(value, _descriptor(message), path, 1)
    try:
        json_format.ParseDict(checked, message, ignore_unknown_fields=False)
    except (json_format.ParseError, RecursionError, ValueError, TypeError):
        raise bad_request(path or "body", "cannot be read as the request message") from None


def to_json(message: Message) -> bytes:
    """Snake_case members, all of them but unset messages; 64-bit integers as
    strings; UTF-8. Raises ValueError on a stored value that JSON cannot say."""
    value = json_format.MessageToDict(
        message, preserving_proto_field_name=True, always_print_fields_with_no_presence=True
    )
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode("utf-8")


def fields_of(descriptor: Descriptor) -> dict[str, FieldDescriptor]:
    """Fields by both of their names, snake_case and camelCase."""
    return _fields(descriptor)


def is_map(field: FieldDescriptor) -> bool:
    """Whether a repeated message field is a map."""
    kind = field.message_type
    return kind is not None and kind.GetOptions().map_entry


@lru_cache(maxsize=1024)
def _fields(descriptor: Descriptor) -> dict[str, FieldDescriptor]:
    by_json = {field.json_name: field for field in descriptor.fields}
    return by_json | {field.name: field for field in descriptor.fields}


def _descriptor(message: Message) -> Descriptor:
    return cast("Descriptor", message.DESCRIPTOR)


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        [(twice, _)] = Counter(name for name, _ in pairs).most_common(1)
        raise bad_request(_printable(twice), "is given twice in one object")
    return found


def _no_constant(name: str) -> Any:
    raise bad_request("body", f"{name} is not JSON")


def _too_deep(path: str) -> HttpError:
    return bad_request(path[:100], "is nested too deeply")


def _printable(name: str) -> str:
    return name[:100].encode("ascii", "backslashreplace").decode().replace("\x00", "\\x00")


def _join(path: str, name: str) -> str:
    return f"{path}.{name}" if path else name


def _message(value: Any, descriptor: Descriptor, path: str, depth: int) -> Any:
    """`value` with canonical names, checked against the schema."""
    special = _SPECIAL.get(descriptor.full_name)
    if special is not None:
        return special(value, path)
    if descriptor.full_name in _WRAPPERS:
        return _scalar(value, descriptor.fields_by_name["value"], path)
    if not isinstance(value, dict):
        raise bad_request(path or "body", "must be an object")
    if depth > MAX_DEPTH:
        raise _too_deep(path)
    known = _fields(descriptor)
    result: dict[str, Any] = {}
    chosen: dict[str, str] = {}
    for name, item in value.items():
        field = known.get(name)
        if field is None:
            raise bad_request(_join(path, _printable(name)), "is not a field of this message")
        where = _join(path, field.name)
        if field.name in result:
            raise bad_request(where, "is given twice, in snake_case and in camelCase")
        if item is not None:
            _one_of(field, chosen, where)
        result[field.name] = _field(item, field, where, depth)
    return result


def _one_of(field: FieldDescriptor, chosen: dict[str, str], where: str) -> None:
    oneof = field.containing_oneof
    if oneof is not None:
        other = chosen.setdefault(oneof.name, field.name)
        if other != field.name:
            raise bad_request(where, f"excludes '{other}'; send one of the two")


def _field(value: Any, field: FieldDescriptor, path: str, depth: int) -> Any:
    if value is None:
        return None
    if is_map(field):
        return _map(value, field, path, depth + 1)
    if not field.is_repeated:
        return _single(value, field, path, depth)
    if not isinstance(value, list):
        raise bad_request(path, "must be an array")
    if depth >= MAX_DEPTH:
        raise _too_deep(path)
    return [_single(item, field, f"{path}[{index}]", depth + 1) for index, item in enumerate(value)]


def _map(value: Any, field: FieldDescriptor, path: str, depth: int) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise bad_request(path, "must be an object")
    if depth > MAX_DEPTH:
        raise _too_deep(path)
    entry = cast("Descriptor", field.message_type).fields_by_name
    result: dict[str, Any] = {}
    for key, item in value.items():
        where = f"{path}[{json.dumps(_printable(key))}]"
        checked = _map_key(key, entry["key"], where)
        if checked in result:
            raise bad_request(where, "is given twice")
        result[checked] = _single(item, entry["value"], where, depth)
    return result


def _map_key(key: str, field: FieldDescriptor, path: str) -> str:
    if field.cpp_type == _F.CPPTYPE_BOOL:
        if key not in {"true", "false"}:
            raise bad_request(path, "must have 'true' or 'false' as key")
        return key
    return str(_scalar(key, field, path))


def _single(value: Any, field: FieldDescriptor, path: str, depth: int) -> Any:
    if field.message_type is not None:
        if value is None and field.message_type.full_name != "google.protobuf.Value":
            raise bad_request(path, "must not be null")
        return _message(value, field.message_type, path, depth + 1)
    return _scalar(value, field, path)


def _scalar(value: Any, field: FieldDescriptor, path: str) -> Any:
    if field.cpp_type in _RANGES:
        return _integer(value, *_RANGES[field.cpp_type], path)
    if field.cpp_type == _F.CPPTYPE_BOOL:
        if not isinstance(value, bool):
            raise bad_request(path, "must be true or false")
        return value
    if field.cpp_type in {_F.CPPTYPE_DOUBLE, _F.CPPTYPE_FLOAT}:
        return _number(value, path)
    if field.cpp_type == _F.CPPTYPE_ENUM:
        return _enum(value, cast("EnumDescriptor", field.enum_type), path)
    return _text(value, path)


def _text(value: Any, path: str) -> str:
    if not isinstance(value, str):
        raise bad_request(path, "must be a string")
    if "\x00" in value:
        raise bad_request(path, "must not contain NUL characters")
    if not value.isascii():
        try:
            value.encode("utf-8")
        except UnicodeEncodeError:
            raise bad_request(path, "has half of a surrogate pair") from None
    return value


def _integer(value: Any, low: int, high: int, path: str) -> int:
    number: int | None = None
    if isinstance(value, str) and _INTEGER.fullmatch(value):
        number = int(value)
    elif isinstance(value, int) and not isinstance(value, bool):
        number = value
    elif isinstance(value, float) and value.is_integer():  # 1.0 and 1e3, by the specification
        number = int(value)
    if number is None or not low <= number <= high:
        raise bad_request(path, f"must be an integer from {low} to {high}")
    return number


def _number(value: Any, path: str) -> float:
    try:
        number = math.nan if isinstance(value, bool) else float(value)
    except (TypeError, ValueError, OverflowError):
        number = math.nan
    if not math.isfinite(number) or (isinstance(value, str) and "_" in value):
        raise bad_request(path, "must be a finite number")
    return number


def _enum(value: Any, enum: EnumDescriptor, path: str) -> Any:
    if isinstance(value, str) and value in enum.values_by_name:
        return value
    if isinstance(value, int) and not isinstance(value, bool) and value in enum.values_by_number:
        return value
    raise bad_request(path, f"is not a value of {enum.name}")


def _free(value: Any, path: str, depth: int = 1) -> Any:
    """Struct, Value, ListValue: any JSON, as long as nothing of it gets lost."""
    if depth > _MAX_FREE_DEPTH:
        raise _too_deep(path)
    if isinstance(value, str):
        _text(value, path)
    elif isinstance(value, dict):
        for key, item in value.items():
            _text(key, path)
            _free(item, _join(path, _printable(key)), depth + 1)
    elif isinstance(value, list):
        for index, item in enumerate(value):
            _free(item, f"{path}[{index}]", depth + 1)
    elif isinstance(value, int | float) and not isinstance(value, bool):
        _exact(value, path)
    return value


def _exact(value: float, path: str) -> None:
    if _number(value, path) != value:
        raise bad_request(path, "loses digits as a number; send it as a string")


def _struct(value: Any, path: str) -> Any:
    if not isinstance(value, dict):
        raise bad_request(path, "must be an object")
    return _free(value, path)


def _list_value(value: Any, path: str) -> Any:
    if not isinstance(value, list):
        raise bad_request(path, "must be an array")
    return _free(value, path)


def _timestamp(value: Any, path: str) -> str:
    text = _text(value, path)
    try:
        Timestamp().FromJsonString(text)
    except (ValueError, TypeError, OverflowError):
        raise bad_request(path, "must be a time such as 2026-01-31T12:00:00Z") from None
    return text


def _duration(value: Any, path: str) -> str:
    text = _text(value, path)
    try:
        Duration().FromJsonString(text)
    except (ValueError, TypeError, OverflowError):
        raise bad_request(path, "must be seconds such as '3.5s'") from None
    return text


def _field_mask(value: Any, path: str) -> str:
    """Both spellings of paths are taken; the library knows camelCase only."""
    text = _text(value, path)
    paths = text.split(",") if text else []
    for item in paths:
        if not _MASK_PATH.fullmatch(item):
            raise bad_request(path, "must be field names, separated by commas")
    return ",".join(_camel(item) for item in paths)


def _camel(path: str) -> str:
    return re.sub(r"_([a-z])", lambda found: found[1].upper(), path)


def _refused(_: Any, path: str) -> Any:
    raise bad_request(path, "cannot be set over HTTP")


_SPECIAL: dict[str, Callable[[Any, str], Any]] = {
    "google.protobuf.Any": _refused,
    "google.protobuf.Duration": _duration,
    "google.protobuf.FieldMask": _field_mask,
    "google.protobuf.ListValue": _list_value,
    "google.protobuf.Struct": _struct,
    "google.protobuf.Timestamp": _timestamp,
    "google.protobuf.Value": _free,
}
