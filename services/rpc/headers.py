"""The one reading of `authorization`, for metadata of gRPC and header fields of HTTP.

Both doors refuse the same, with the same words: RFC 9110 11.4 (the scheme is
case-insensitive), RFC 6750 2.1 (b64token). A token in a URL is never read.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Iterable, Sequence
from typing import Final

from services.model.errors import Reason, WorkspaceError

__all__ = [
    "AUTHORIZATION",
    "MAX_AUTHORIZATION_BYTES",
    "MAX_BEARER_BYTES",
    "bearer_in",
    "bearer_of",
    "unauthenticated",
]

AUTHORIZATION: Final = "authorization"
MAX_BEARER_BYTES: Final = 16 * 1024
"""Of the token; issuers that list 200 groups make some of 12 KiB."""
MAX_AUTHORIZATION_BYTES: Final = len("Bearer ") + MAX_BEARER_BYTES
_log = logging.getLogger("workspace.audit")
_BEARER: Final = re.compile(r"bearer +([A-Za-z0-9._~+/-]+=*) *", re.IGNORECASE | re.ASCII)


def unauthenticated() -> WorkspaceError:
    """The one answer for missing and for bad credentials."""
    return WorkspaceError(
        Reason.ERROR_REASON_UNAUTHENTICATED, "Valid credentials are required; sign in again."
    )


def bearer_of(metadata: Iterable[tuple[str, str | bytes]]) -> str:
    """`bearer_in` of the entries of a call's metadata."""
    return bearer_in([value for key, value in metadata if key == AUTHORIZATION])


def bearer_in(values: Sequence[str | bytes]) -> str:
    """The bearer token of all `authorization` values; '' when there is none.

    Raises UNAUTHENTICATED for more than one value, another scheme, characters
    outside of RFC 6750, or more than 16 KiB, with a line of audit that holds none of them.
    """
    if not values:
        return ""
    value = values[0]
    if len(values) > 1 or not isinstance(value, str) or len(value) > MAX_AUTHORIZATION_BYTES:
        raise _refused()
    match = _BEARER.fullmatch(value)
    if match is None:
        raise _refused()
    return match[1]


def _refused() -> WorkspaceError:
    _log.info("token refused", extra={"check": AUTHORIZATION})
    return unauthenticated()
