"""What must never be written: tokens, signatures, signed URLs, secrets, e-mail addresses.

Works on text by shape and on named fields by name. Patterns are linear (no
nested repetition), so that a hostile message costs no more than its length.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

__all__ = ["REDACTED", "redact", "redact_value"]

REDACTED = "[redacted]"
_MAX_TEXT = 64 * 1024

_NAMES = (
    "authorization|password|passwd|passphrase|secret|token|signature|credentials?|cookie"
    "|api_?key|account_?key|access_?key|private_?key|shared_?access_?key|connection_?string"
    "|bearer|e_?mail"
)
_SENSITIVE_NAME = re.compile(_NAMES, re.IGNORECASE)

# Of a URL within a URL.
_EQUALS = "(?:[=:]|%(?:25){0,3}3d)"
_SIG = r"(?:\b|%(?:25){0,3}[0-9a-f]{2})sig"

# Query parameters that make a URL a signed URL: SigV4 and V2, Azure SAS, GCS, CDN, ours.
_SIGNED_URL = re.compile(
    r"(\b[a-z][a-z0-9+.-]{1,15}://[^\s\"'<>?]{1,2048})\?"
    r"(?=[^\s\"'<>]{0,4096}?(?:x-amz-signature|x-amz-credential|x-amz-security-token|"
    r"x-goog-signature|signature|sig|token|awsaccesskeyid|key)=)[^\s\"'<>]*",
    re.IGNORECASE,
)
_PATTERNS: tuple[tuple[re.Pattern[str], str], ...] = (
    (
        re.compile(
            r"-----BEGIN [A-Z ]{0,32}PRIVATE KEY-----.*?(?:-----END [A-Z ]{0,32}KEY-----|\Z)",
            re.DOTALL,
        ),
        REDACTED,
    ),
    (_SIGNED_URL, rf"\1?{REDACTED}"),
    (re.compile(r"(://)[^\s/@\"'<>]{1,512}@"), rf"\1{REDACTED}@"),
    (re.compile(r"\beyJ[A-Za-z0-9_-]{5,}(?:\.[A-Za-z0-9_-]*){1,4}"), REDACTED),
    (re.compile(r"\b(bearer|basic)\s+[A-Za-z0-9._~+/=-]{4,}", re.IGNORECASE), rf"\1 {REDACTED}"),
    (re.compile(r"\b(?:AKIA|ASIA)[A-Z0-9]{16}\b"), REDACTED),
    # A transfer token of ours, wherever it stands; and parameters whose names hide in escapes.
    (re.compile(r"v1\.[0-9a-f]{8}\.[A-Za-z0-9_-]{2,8192}\.[A-Za-z0-9_-]{1,64}"), REDACTED),
    (re.compile(r"([?&;][\w.-]{0,64}%[0-9A-Fa-f]{2}[\w.%-]{0,64})=[^\s\"'<>]*"), rf"\1={REDACTED}"),
    # Machine tokens, and keys of webhooks (Standard Webhooks).
    (re.compile(r"\b(wmt_|whsec_)[A-Za-z0-9+/=_-]{8,}"), rf"\1{REDACTED}"),
    # Of an invitation the id stays, the secret goes.
    (re.compile(r"\b(i_[a-z2-7]{26})\.[A-Za-z0-9_-]{43}"), rf"\1.{REDACTED}"),
    (
        re.compile(
            rf"([\w-]{{0,32}}(?:{_NAMES}|{_SIG})[\w-]{{0,32}}[\"']?\s{{0,4}}{_EQUALS}\s{{0,4}})"
            r"(\"[^\"]*\"|'[^']*'|[^\s,;&\"'()\[\]{}]+)",
            re.IGNORECASE,
        ),
        rf"\1{REDACTED}",
    ),
    (
        re.compile(r"[A-Za-z0-9.!#$%&*+/=?^_`{|}~-]{1,64}@[A-Za-z0-9-]{1,63}(?:\.[A-Za-z0-9-]+)+"),
        REDACTED,
    ),
)

# Without one of these a text can hold nothing of the above; most lines end here.
_HINT = re.compile(
    r"[@?]|-----|eyJ|bearer|basic|AKIA|ASIA|sig|i_[a-z2-7]{26}\.|wmt_|whsec_|v1\.[0-9a-f]{8}\."
    rf"|{_NAMES}",
    re.IGNORECASE,
)


def redact(text: str) -> str:
    """`text` without secrets and addresses, at most 64 KiB of it."""
    if len(text) > _MAX_TEXT:
        text = text[:_MAX_TEXT] + "..."
    if _HINT.search(text) is None:
        return text
    for pattern, replacement in _PATTERNS:
        text = pattern.sub(replacement, text)
    return text


def redact_value(name: str, value: object) -> object:
    """A named field: dropped when its name says so, else cleaned inside."""
    if value is None or isinstance(value, bool | int | float):
        return value
    if _SENSITIVE_NAME.search(name):
        return REDACTED
    if isinstance(value, Mapping):
        return {redact(str(key)): redact_value(str(key), item) for key, item in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [redact_value(name, item) for item in value]
    return redact(value if isinstance(value, str) else str(value))
