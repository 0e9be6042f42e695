"""Requests are checked against the rules of their schema before a handler sees them.

protovalidate stays behind `Validator.violations`; nothing else of it is used.
On top of the schema, no string may hold NUL or control characters.
"""

from __future__ import annotations

import re
from collections.abc import AsyncGenerator, AsyncIterator, Iterable, Sequence
from contextlib import aclosing
from functools import cache
from typing import Any, ClassVar, Final, cast

import protovalidate
from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass

from services.model.errors import FieldViolation, Reason, WorkspaceError
from services.rpc.elements import MAX_ELEMENTS
from services.rpc.received import Decoder, opened
from services.rpc.wrap import CallInterceptor, Context, Handler, Stream, Unary, wrap_handler

__all__ = ["MULTILINE_FIELDS", "ValidationInterceptor", "Validator", "invalid_request"]

MULTILINE_FIELDS = frozenset({"description", "note", "text", "summary", "reason"})
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]")
_CONTROL_MULTILINE = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")
_NO_CONTROL = "must not contain control characters; remove them"
_NO_CONTROL_MULTILINE = "must not contain control characters but newline and tab; remove them"
_MAX_KEY = 64
_PATTERNS: Final = {
    "^[A-Za-z0-9][A-Za-z0-9_.-]{0,63}$": "must be an id: 1 to 64 letters, digits, '_', '.' "
    "and '-', a letter or digit first",
    "^[a-z][a-z0-9_.-]{0,63}$": "must be a word: 1 to 64 of a-z, 0-9, '_', '.' and '-', "
    "a letter first",
    "^[a-z][a-z0-9_.]{0,63}$": "must be a word: 1 to 64 of a-z, 0-9, '_' and '.', a letter first",
    "^[a-z][a-z0-9_]{0,63}$": "must be a word: 1 to 64 of a-z, 0-9 and '_', a letter first",
    "^[0-9a-f]{64}$": "must be a SHA-256 in lower-case hex: 64 of 0-9 and a-f",
    "^[0-9]{4}(-[0-9]{2}(-[0-9]{2})?)?$": "must be a date: 2026, 2026-12 or 2026-12-31",
}
"""The patterns of the schemas in words. The words never change what is accepted."""


class Validator:
    """Compiled rules of request messages; safe to share."""

    def __init__(self) -> None:
        self._rules = _compiled()
        self._plans: dict[str, dict[int, FieldDescriptor]] = {}

    def warm(self, descriptors: Iterable[Descriptor]) -> None:
        """Compile the rules of these messages and all inside of them, now.

        Raises protovalidate.CompilationError for a rule that cannot work.
        """
        for descriptor in _closure(descriptors):
            self._rules.collect_violations(GetMessageClass(descriptor)())
            self._plan(descriptor)

    def violations(self, message: Message) -> list[FieldViolation]:
        """Every broken rule, with the field as a dotted path; empty when valid."""
        found = [_violation(item) for item in self._rules.collect_violations(message)]
        self._scan(message, "", found)
        return found

    def _plan(self, descriptor: Descriptor) -> dict[int, FieldDescriptor]:
        """The fields of a message that can hold text, by number."""
        plan = self._plans.get(descriptor.full_name)
        if plan is None:
            plan = {field.number: field for field in descriptor.fields if _has_text(field)}
            self._plans[descriptor.full_name] = plan
        return plan

    def _scan(self, message: Message, prefix: str, found: list[FieldViolation]) -> None:
        plan = self._plan(cast("Descriptor", message.DESCRIPTOR))
        if not plan:
            return
        for field, value in message.ListFields():
            if field.number in plan:
                self._scan_field(field, value, prefix + field.name, found)

    def _scan_field(
        self, field: FieldDescriptor, value: Any, path: str, found: list[FieldViolation]
    ) -> None:
        if field.message_type is not None and field.message_type.GetOptions().map_entry:
            self._scan_map(field.message_type.fields_by_name["value"], value, path, found)
        elif field.is_repeated:
            for index, item in enumerate(value):
                self._scan_value(field, item, f"{path}[{index}]", found)
        else:
            self._scan_value(field, value, path, found)

    def _scan_map(
        self, entry: FieldDescriptor, value: Any, path: str, found: list[FieldViolation]
    ) -> None:
        for key, item in value.items():
            where = f'{path}["{_printable(key)}"]'
            if isinstance(key, str) and _CONTROL.search(key):
                found.append(FieldViolation(where, "key " + _NO_CONTROL))
            if _has_text(entry):
                self._scan_value(entry, item, where, found)

    def _scan_value(
        self, field: FieldDescriptor, value: Any, path: str, found: list[FieldViolation]
    ) -> None:
        if isinstance(value, Message):
            self._scan(value, path + ".", found)
        elif field.name in MULTILINE_FIELDS:
            if _CONTROL_MULTILINE.search(value):
                found.append(FieldViolation(path, _NO_CONTROL_MULTILINE))
        elif _CONTROL.search(value):
            found.append(FieldViolation(path, _NO_CONTROL))


def _closure(descriptors: Iterable[Descriptor]) -> list[Descriptor]:
    """These messages and all that their fields lead to, each once."""
    seen: dict[str, Descriptor] = {}
    waiting = list(descriptors)
    while waiting:
        descriptor = waiting.pop()
        if descriptor.full_name in seen:
            continue
        seen[descriptor.full_name] = descriptor
        waiting += [f.message_type for f in descriptor.fields if f.message_type is not None]
    return [d for d in seen.values() if not d.GetOptions().map_entry]


def _has_text(field: FieldDescriptor) -> bool:
    if field.message_type is None:
        return bool(field.type == FieldDescriptor.TYPE_STRING)
    inside = _closure([field.message_type])
    if field.message_type.GetOptions().map_entry:
        inside = [*inside, field.message_type]
    return any(f.type == FieldDescriptor.TYPE_STRING for d in inside for f in d.fields)


def _printable(key: object) -> str:
    return _CONTROL.sub("?", str(key))[:_MAX_KEY]


def _violation(item: protovalidate.Violation) -> FieldViolation:
    proto = item.proto
    text = proto.message or f"breaks the rule {proto.rule_id}"
    return FieldViolation(_path(proto.field), _in_words(text))


def _in_words(text: str) -> str:
    """Patterns as a person says them; an unknown one stays as it is."""
    if "regex" not in text:
        return text
    found = (words for pattern, words in _PATTERNS.items() if f"`{pattern}`" in text)
    return next(found, text)


def _path(path: Any) -> str:
    """`a.b[0].c["key"]`; empty when the whole message is meant."""
    if path is None:
        return ""
    return ".".join(e.field_name + _subscript(e.subscript) for e in path.elements)


def _subscript(subscript: Any) -> str:
    if subscript is None:
        return ""
    if subscript.field == "string_key":
        return f'["{_printable(subscript.value)}"]'
    return f"[{subscript.value}]"


def invalid_request(violations: Sequence[FieldViolation]) -> WorkspaceError:
    """INVALID_ARGUMENT that names every field; the text names the first."""
    first = violations[0]
    more = f" (and {len(violations) - 1} more)" if len(violations) > 1 else ""
    return WorkspaceError(
        Reason.ERROR_REASON_INVALID_FIELD,
        f"{first.field or 'request'}: {first.description}{more}",
        metadata={"field": first.field or "request"},
        violations=violations,
    )


@cache
def _compiled() -> protovalidate.Validator:
    """One for all validators: rules are compiled at the first message of a type, for 5 to
    30 ms, and belong to the schema that this Python process has loaded."""
    return protovalidate.Validator()


class ValidationInterceptor(CallInterceptor):
    """Decodes and checks every request message, streamed ones as the handler iterates
    them. Nothing is built of one with too many elements (`elements.py`)."""

    name: ClassVar[str] = "validation"

    def __init__(self, validator: Validator, max_elements: int = MAX_ELEMENTS) -> None:
        super().__init__()
        self._validator = validator
        self._max_elements = max_elements

    def _check(self, request: Any) -> None:
        if isinstance(request, Message):
            found = self._validator.violations(request)
            if found:
                raise invalid_request(found)

    async def _checked(self, requests: AsyncIterator[Any]) -> AsyncIterator[Any]:
        async for request in requests:
            self._check(request)
            yield request

    def _admit(self, request: Any, streaming: bool) -> Any:
        if streaming:
            return self._checked(request)
        message = opened(request)
        self._check(message)
        return message

    def wrap(self, _method: str, handler: Handler) -> Handler:
        """Check before the handler runs, or before it gets the next message."""
        streaming = bool(handler.request_streaming)

        def unary(inner: Unary) -> Unary:
            async def serve(request: Any, context: Context) -> Any:
                return await inner(self._admit(request, streaming), context)

            return serve

        def stream(inner: Stream) -> Stream:
            async def serve(request: Any, context: Context) -> AsyncGenerator[Any, None]:
                checked = self._admit(request, streaming)
                async with aclosing(inner(checked, context)) as items:
                    async for item in items:
                        yield item

            return serve

        decode = handler.request_deserializer
        if decode is None:
            return wrap_handler(handler, unary, stream)
        # Streamed requests are decoded while the handler iterates them.
        decoder = Decoder(decode, self._max_elements)
        guard = decoder if streaming else decoder.later
        return wrap_handler(handler, unary, stream, request_deserializer=guard)
