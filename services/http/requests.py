"""One request message of path, query, body and If-Match."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast

from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.protobuf.message import Message

from services.http.errors import bad_request
from services.http.etags import apply_if_match
from services.http.json_size import require_few_values
from services.http.query import parse_query
from services.http.routes import Route
from services.http.transcode import load_object, merge_object
from services.rpc.elements import ElementLimit

__all__ = ["build_request"]


def build_request(
    route: Route, *, parameters: Mapping[str, str], query: bytes, body: bytes, if_match: str
) -> Message:
    """The request message. An empty body is `{}`.

    A field of the path may be in the body too, when it is the same. Raises
    HttpError 400 naming what is wrong.
    """
    message = route.request()
    if body and not route.body:
        raise bad_request("body", f"{route.verb} of this path takes no body")
    descriptor = cast("Descriptor", message.DESCRIPTOR)
    require_few_values(body, ElementLimit(descriptor).max_fields)
    value = load_object(body) if body else {}
    if value and route.body == "*":
        merge_object(value, message)
    elif value:
        merge_object(value, getattr(message, route.body), route.body)
    if route.body not in {"", "*"}:
        getattr(message, route.body).SetInParent()
    more = parse_query(query, descriptor, bound=route.template.variables, body=route.body)
    if more:
        merge_object(more, message)
    for path, text in parameters.items():
        _bind(message, path, text)
    apply_if_match(route, message, if_match)
    return message


def _bind(message: Message, path: str, text: str) -> None:
    """Set one path parameter; types are checked as in JSON."""
    *parents, leaf = path.split(".")
    for name in parents:
        message = getattr(message, name)
    before = _given(message, leaf)
    value: Any = text
    if message.DESCRIPTOR.fields_by_name[leaf].type == FieldDescriptor.TYPE_BOOL:
        value = {"true": True, "false": False}.get(text, text)
    merge_object({leaf: value}, message, ".".join(parents))
    if before is not None and before != getattr(message, leaf):
        raise bad_request(path, "in the body differs from the path")


def _given(message: Message, leaf: str) -> Any:
    """What the body said, or None."""
    said = any(field.name == leaf for field, _ in message.ListFields())
    return getattr(message, leaf) if said else None
