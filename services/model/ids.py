"""Ids: opaque, never reused, 130 bits in 26 lower-case base32 characters (RFC 4648).

Everything hashed is length-prefixed, so `("ab", "c")` and `("a", "bc")` differ.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import secrets
from collections.abc import Callable
from typing import Final

__all__ = [
    "ID_CHARS",
    "NO_ACCOUNT",
    "NO_PROJECT",
    "canonical_email",
    "derived_id",
    "email_hash",
    "identity_hash",
    "random_id",
    "user_id",
]

ID_CHARS: Final = 26
NO_ACCOUNT: Final = "a_none"
NO_PROJECT: Final = "p_none"
"""Nothing has these ids. Where a thing is absent a decision is made about one of them, so
that its refusal takes the time of one about a thing of others."""

_ID_BYTES: Final = 17  # 136 bits; 26 characters carry the first 130


def user_id(issuer: str, subject: str) -> str:
    """`u_` + base32(sha256(issuer, subject))[:26]: the same person on every surface."""
    return "u_" + _base32(hashlib.sha256(_framed(issuer, subject)).digest())


def identity_hash(issuer: str, subject: str) -> str:
    """The `h` of `IDENTITY#h`: all 256 bits (52 characters), apart from `user_id`."""
    digest = hashlib.sha256(_framed("identity", issuer, subject)).digest()
    return _base32(digest, chars=52)


def email_hash(email: str) -> str:
    """The `h` of `EMAIL#h`: all 256 bits (52 characters) of the canonical address.

    Not keyed (ADR 0011): it keeps keys short and ASCII and addresses out of keys
    and logs; the record itself holds the address, so a key would hide nothing.
    """
    digest = hashlib.sha256(_framed("email", canonical_email(email))).digest()
    return _base32(digest, chars=52)


def canonical_email(email: str) -> str:
    """The form in which addresses are compared: no surrounding space, ASCII lower case.

    Only A-Z fold: Unicode folding would join different addresses (K13).
    """
    return "".join(c.lower() if "A" <= c <= "Z" else c for c in email.strip())


def derived_id(
    prefix: str, instance_key: bytes, principal: str, method: str, request_id: str
) -> str:
    """The id of a root created by a call: a replay of the call finds the same partition.

    An empty key is refused with ValueError.
    """
    mac = _mac(instance_key, "id", prefix, principal, method, request_id)
    return f"{prefix}_{_base32(mac)}"


def random_id(prefix: str, random_bytes: Callable[[int], bytes] = secrets.token_bytes) -> str:
    """A fresh id; `random_bytes(n)` returns n bytes."""
    return f"{prefix}_{_base32(random_bytes(_ID_BYTES))}"


def _mac(key: bytes, *parts: str) -> bytes:
    if not key:
        raise ValueError("the key must not be empty")
    return hmac.new(key, _framed(*parts), hashlib.sha256).digest()


def _framed(*parts: str) -> bytes:
    encoded = [part.encode() for part in parts]
    return b"".join(len(part).to_bytes(4, "big") + part for part in encoded)


def _base32(digest: bytes, *, chars: int = ID_CHARS) -> str:
    return base64.b32encode(digest).decode("ascii").lower()[:chars]
