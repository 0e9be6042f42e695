"""Which requests to an object store we pass on: those with a URL that our signer makes
(`services/objects/s3/transfers.py`), and of them only what it signs or cannot change
what is done.

Nothing is verified here: the store knows the key, and the signature covers path, query
and Host, which go on byte for byte. What is refused here is what a signature does not
cover, and what two parsers could read in two ways.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from http import HTTPStatus
from urllib.parse import quote, unquote

from services.http.refusals import bad_request, forbidden
from services.objects.keys import key_error

__all__ = ["METHODS", "RawHeaders", "SignedRequest", "is_signed", "nominated", "signed_request"]

RawHeaders = Sequence[tuple[bytes, bytes]]
METHODS = ("GET", "HEAD", "PUT")

_SIGNATURE = "X-Amz-Signature"
_AUTHORITY = frozenset(
    {
        "X-Amz-Algorithm", "X-Amz-Credential", "X-Amz-Date", "X-Amz-Expires",
        "X-Amz-SignedHeaders", _SIGNATURE,
    }
)  # fmt: skip
_SESSION = frozenset({"X-Amz-Security-Token"})
_PART = frozenset({"partNumber", "uploadId"})
_SHOWN = frozenset(
    {
        "response-cache-control", "response-content-disposition", "response-content-encoding",
        "response-content-type",
    }
)  # fmt: skip
_STAGED = ".multipart/"
"""Where the driver puts the parts of an upload; no other key begins with a dot."""

_VALUE = re.compile(r"(?:[A-Za-z0-9._~-]|%[0-9A-F]{2})*")
_LENGTH = re.compile(rb"[0-9]{1,15}")
_PLAIN = frozenset(
    {
        b"content-length", b"content-md5", b"content-type", b"host", b"if-match",
        b"if-modified-since", b"if-none-match", b"if-range", b"if-unmodified-since", b"range",
    }
)  # fmt: skip
_KEPT = frozenset({b"content-length", b"host"})


@dataclass(frozen=True, slots=True)
class SignedRequest:
    """What goes to the store. `target` is path and query as they came; `size` is that of
    the body of a PUT, 0 for others."""

    method: str
    target: bytes
    headers: list[tuple[bytes, bytes]]
    size: int

    def __repr__(self) -> str:
        return f"SignedRequest({self.method})"  # the target is as good as a password


def is_signed(query: bytes) -> bool:
    """Whether a query claims a signature; all others are not for the store."""
    return _SIGNATURE.encode() in query


def signed_request(
    method: str, *, path: bytes, query: bytes, headers: RawHeaders, bucket: str
) -> SignedRequest:
    """`path` is raw, as in the request line. Raises RefusedError."""
    parameters = _parameters(query, method)
    _require_key(path, bucket, staged="uploadId" in parameters)
    size = _body_size(method, headers)
    passed = _passed(headers, unquote(parameters["X-Amz-SignedHeaders"]).split(";"))
    return SignedRequest(method, path + b"?" + query, passed, size)


def _parameters(query: bytes, method: str) -> Mapping[str, str]:
    """Each once, in the one spelling of our signer, and none that it does not make."""
    try:
        pairs = [part.split("=", 1) for part in query.decode("ascii").split("&")]
        found = dict(pairs)
    except ValueError:
        raise forbidden() from None
    own = set(found) - _AUTHORITY - _SESSION
    allowed = own in (set(), _PART) if method == "PUT" else own <= _SHOWN
    if len(found) < len(pairs) or not allowed or not set(found) >= _AUTHORITY:
        raise forbidden()
    if not all(_VALUE.fullmatch(value) for value in found.values()):
        raise forbidden()
    return found


def _require_key(path: bytes, bucket: str, *, staged: bool) -> None:
    """A key that our signer signs, in its one spelling: no dot segments, no empty ones,
    nothing encoded that need not be. The bucket itself has no key."""
    start = f"/{bucket}/"
    try:
        text = path.decode("ascii")
        key = unquote(text.removeprefix(start), errors="strict")
    except UnicodeDecodeError:
        raise forbidden() from None
    named = key.removeprefix(_STAGED) if staged else key
    if text != start + quote(key, safe="/") or key_error(named):
        raise forbidden()


def _body_size(method: str, headers: RawHeaders) -> int:
    """One Content-Length and no coding: nobody can see another end of this request."""
    lengths = _values(headers, b"content-length")
    if _values(headers, b"transfer-encoding") or len(lengths) > 1:
        raise bad_request("Send the body with one Content-Length and without Transfer-Encoding.")
    if any(value.lower() != b"identity" for value in _values(headers, b"content-encoding")):
        status = HTTPStatus.UNSUPPORTED_MEDIA_TYPE
        raise bad_request("Content-Encoding is not supported.", status)
    if lengths and not _LENGTH.fullmatch(lengths[0]):
        raise bad_request("Content-Length must be one decimal number.")
    size = int(lengths[0]) if lengths else 0
    if method == "PUT" and not lengths:
        raise bad_request("Content-Length is required.", HTTPStatus.LENGTH_REQUIRED)
    if method != "PUT" and size:
        raise bad_request(f"A {method} has no body.")
    return size


def _passed(headers: RawHeaders, signed: Sequence[str]) -> list[tuple[bytes, bytes]]:
    """Those that the store is meant to read. What `Connection` names ends here."""
    dropped = nominated(headers) - _KEPT
    passed: dict[bytes, bytes] = {}
    for name, value in headers:
        amazon = name.startswith(b"x-amz-")
        if amazon and name.decode("latin-1") not in signed:
            shown = name.decode("latin-1")
            raise bad_request(f"Leave out '{shown}': the URL was not signed for it.")
        if name in dropped or not (amazon or name in _PLAIN):
            continue
        if name in passed:
            raise bad_request(f"Send one '{name.decode()}'.")
        passed[name] = value
    if b"host" not in passed:
        raise bad_request("Host is required.")
    return list(passed.items())


def nominated(headers: RawHeaders) -> frozenset[bytes]:
    """The names in Connection fields, which are for the next hop alone (RFC 9110 7.6.1)."""
    values = b",".join(_values(headers, b"connection"))
    return frozenset(name.strip().lower() for name in values.split(b","))


def _values(headers: RawHeaders, name: bytes) -> list[bytes]:
    return [value.strip() for found, value in headers if found.lower() == name]
