"""Etags over HTTP: If-Match into a request, and the ETag of an answer.

Our etags hold their quotes (`etag_of`, AIP-154), so field and header are equal.
"""

from __future__ import annotations

import re
from typing import Any

from google.protobuf.message import Message

from services.http.errors import bad_request
from services.http.routes import Route

__all__ = ["apply_if_match", "response_etag"]

_NOUN_VERBS = frozenset({"PATCH", "PUT"})
_STRONG = re.compile(r'"[\x21\x23-\x7e]+"')


def apply_if_match(route: Route, request: Message, etag: str) -> None:
    """Set the request's own etag, or that of the noun in its body.

    An equal etag may be in the body already. Raises HttpError 400 when it
    differs, or when the call takes no etag: a condition is never ignored.
    """
    if not etag:
        return
    holder = _holder(route, request)
    if holder is None:
        raise bad_request("if-match", "this call takes no etag; leave the header out")
    if holder.etag and holder.etag != etag:
        raise bad_request("if-match", "differs from the etag in the body")
    holder.etag = etag


def _holder(route: Route, request: Message) -> Any:
    if _has_etag(request):
        return request
    if route.body not in {"", "*"} and route.verb in _NOUN_VERBS:
        noun = getattr(request, route.body)
        return noun if _has_etag(noun) else None
    return None


def _has_etag(message: Message) -> bool:
    return "etag" in message.DESCRIPTOR.fields_by_name


def response_etag(answer: Message) -> str:
    """The etag of the answer, or of the first noun in it; '' for none."""
    holder: Any = answer if _has_etag(answer) else None
    if holder is None:
        nouns = (
            getattr(answer, field.name)
            for field in answer.DESCRIPTOR.fields
            if field.message_type is not None
            and not field.is_repeated
            and answer.HasField(field.name)
        )
        holder = next((noun for noun in nouns if _has_etag(noun)), None)
    etag = str(holder.etag) if holder is not None else ""
    return etag if _STRONG.fullmatch(etag) else ""
