"""Key templates: how a record's keys are computed from its own fields.

`PROJECT#{project_id}` takes a field; `{restricted?restricted:open}` chooses by
a boolean; `{target_type=team}` adds nothing and demands that value (of a boolean
`True`); `{email|address}` takes the hash of an e-mail address. An enum
field gives its short lower-case name, a Timestamp fixed-width UTC. A template
of which a field is empty gives no key.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import cache
from typing import Any

from google.protobuf.descriptor import EnumDescriptor
from google.protobuf.message import Message

from services.model.ids import email_hash
from services.model.times import timestamp_key

__all__ = ["Template", "enum_word"]

_SLOT = re.compile(r"\{(\w+)(?:\?([^:}]*):([^}]*)|=(\w+)|\|(address))?\}")
_Part = Callable[[Message], str | None]


class Template:
    """A compiled key template; `text` is what the families table says."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.fields = tuple(match[1] for match in _SLOT.finditer(text))
        self._parts = _compile(text)

    def render(self, message: Message) -> str:
        """The key, or '' when a field it needs is empty."""
        values = []
        for part in self._parts:
            value = part if isinstance(part, str) else part(message)
            if value is None:
                return ""
            values.append(value)
        return "".join(values)

    def prefix(self, **values: str) -> str:
        """The constant text with the leading fields filled in, up to the first
        field that is not given: what a range query begins with."""
        out, at = [], 0
        for match in _SLOT.finditer(self.text):
            out.append(self.text[at : match.start()])
            if match[1] not in values:
                return "".join(out)
            out.append(values[match[1]])
            at = match.end()
        return "".join(out) + self.text[at:]


def enum_word(field: Any, number: int) -> str:
    """The short name of a value of an enum field (a FieldDescriptor):
    `ACCOUNT_ROLE_OWNER` of AccountRole -> `owner`; '' for zero."""
    return _word(field.enum_type, number) if number else ""


@cache
def _word(kind: EnumDescriptor, number: int) -> str:
    snake = re.sub(r"(?<!^)(?=[A-Z])", "_", kind.name).upper() + "_"
    return str(kind.values_by_number[number].name).removeprefix(snake).lower()


def _compile(text: str) -> list[str | _Part]:
    parts: list[str | _Part] = []
    at = 0
    for match in _SLOT.finditer(text):
        if match.start() > at:
            parts.append(text[at : match.start()])
        parts.append(_slot(*match.groups()))
        at = match.end()
    if at < len(text):
        parts.append(text[at:])
    return parts


def _slot(
    name: str, if_true: str | None, if_false: str | None, word: str | None, hashed: str | None
) -> _Part:
    if if_true is not None:
        return lambda message: if_true if getattr(message, name) else if_false
    if word is not None:
        return lambda message: "" if _text(message, name) == word else None
    if hashed is not None:
        return lambda message: _hashed(_text(message, name))
    return lambda message: _text(message, name) or None


def _hashed(address: str) -> str | None:
    return email_hash(address) if address else None


def _text(message: Message, name: str) -> str:
    value: Any = getattr(message, name)
    if isinstance(value, str):
        return value
    field = message.DESCRIPTOR.fields_by_name[name]
    if field.enum_type is not None:
        return enum_word(field, value)
    if field.message_type is not None:
        return timestamp_key(value) if message.HasField(name) else ""
    return str(value)
