"""JSON Schemas (2020-12) of messages, as the gateway reads and writes them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from google.protobuf.descriptor import Descriptor, EnumDescriptor, FieldDescriptor

from services.http.openapi.constraints import constraints_of

__all__ = ["Schema", "Schemas"]

Schema = dict[str, Any]

_INT64: Final = {"type": ["string", "integer"], "format": "int64"}
_SCALARS: Final[Mapping[int, Schema]] = {
    FieldDescriptor.CPPTYPE_INT32: {"type": "integer", "format": "int32"},
    FieldDescriptor.CPPTYPE_UINT32: {"type": "integer", "minimum": 0},
    FieldDescriptor.CPPTYPE_INT64: _INT64,
    FieldDescriptor.CPPTYPE_UINT64: _INT64,
    FieldDescriptor.CPPTYPE_DOUBLE: {"type": "number"},
    FieldDescriptor.CPPTYPE_FLOAT: {"type": "number"},
    FieldDescriptor.CPPTYPE_BOOL: {"type": "boolean"},
}
_WELL_KNOWN: Final[Mapping[str, Schema]] = {
    "google.protobuf.Timestamp": {"type": "string", "format": "date-time"},
    "google.protobuf.Duration": {"type": "string", "examples": ["3600s"]},
    "google.protobuf.FieldMask": {"type": "string", "examples": ["name,description"]},
    "google.protobuf.Struct": {"type": "object"},
    "google.protobuf.Value": {},
    "google.protobuf.Any": {
        "type": "object", "properties": {"@type": {"type": "string"}}, "required": ["@type"],
    },
    "google.protobuf.StringValue": {"type": "string"},
}


class Schemas:
    """Collects the schemas that are referred to. `comments` are those of the
    protos by full name."""

    def __init__(self, comments: Mapping[str, str]) -> None:
        self._comments = comments
        self.components: dict[str, Schema] = {}

    def reference(self, descriptor: Descriptor) -> Schema:
        """A reference to the schema of a message, which is collected."""
        name = descriptor.full_name
        if name in _WELL_KNOWN:
            return dict(_WELL_KNOWN[name])
        if name not in self.components:
            self.components[name] = {}  # messages may hold themselves
            self.components[name] = self.object(descriptor, without=frozenset())
        return {"$ref": f"#/components/schemas/{name}"}

    def object(self, descriptor: Descriptor, *, without: frozenset[str]) -> Schema:
        """The schema of a message without some of its fields."""
        fields = [f for f in descriptor.fields if f.name not in without]
        schema: Schema = {
            "type": "object",
            "properties": {field.name: self.field(field) for field in fields},
            "additionalProperties": False,
        }
        return self._described(schema, descriptor.full_name)

    def field(self, field: FieldDescriptor) -> Schema:
        """The schema of a field's value, with its comment and bounds."""
        schema = self._value(field)
        if field.is_repeated and not _is_map(field):
            schema = {"type": "array", "items": schema}
        return self._described(schema | constraints_of(field), field.full_name)

    def _value(self, field: FieldDescriptor) -> Schema:
        message = field.message_type
        if message is not None:
            if _is_map(field):
                value = message.fields_by_name["value"]
                return {"type": "object", "additionalProperties": self._value(value)}
            return self.reference(message)
        if field.enum_type is not None:
            return self._enum(field.enum_type)
        if field.type == FieldDescriptor.TYPE_BYTES:
            return {"type": "string", "contentEncoding": "base64"}
        return dict(_SCALARS.get(field.cpp_type, {"type": "string"}))

    def _enum(self, enum: EnumDescriptor) -> Schema:
        if enum.full_name not in self.components:
            schema: Schema = {"type": "string", "enum": [value.name for value in enum.values]}
            lines = [
                f"- `{value.name}`: {said}"
                for value in enum.values
                if (said := self._comments.get(f"{enum.full_name}.{value.name}", ""))
            ]
            about = self._comments.get(enum.full_name, "")
            schema["description"] = "\n".join([about, "", *lines])
            self.components[enum.full_name] = schema
        return {"$ref": f"#/components/schemas/{enum.full_name}"}

    def _described(self, schema: Schema, full_name: str) -> Schema:
        said = self._comments.get(full_name)
        return schema | {"description": said} if said else schema


def _is_map(field: FieldDescriptor) -> bool:
    return field.message_type is not None and field.message_type.GetOptions().map_entry
