"""How many values a JSON body has, counted before anything is built from it.

Two bytes are an empty array, and more than a hundred once it is an object of Python; the
gateway reads bodies before it is known who sent them.
"""

from __future__ import annotations

import re

from services.http.errors import bad_request

__all__ = ["require_few_values"]

_TEXT = re.compile(rb'"(?:[^"\\]++|\\.)*+"?', re.DOTALL)
"""To its end, or that of the body: each byte is looked at once, whatever is sent."""


def require_few_values(raw: bytes, maximum: int) -> None:
    """Raises HttpError 400 when `raw` may hold more values than `maximum`: each but the
    first of an object or array has a comma before it."""
    if _separators(raw) > maximum and _separators(_TEXT.sub(b"", raw)) > maximum:
        raise bad_request(
            "body", f"holds more than {maximum} values; send them in several requests"
        )


def _separators(raw: bytes) -> int:
    return raw.count(b",") + raw.count(b"{") + raw.count(b"[")
