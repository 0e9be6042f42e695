"""Content-Disposition values for downloads (RFC 6266, RFC 8187)."""

from __future__ import annotations

import re
import unicodedata
from urllib.parse import quote

__all__ = ["content_disposition", "is_safe_disposition"]

# attr-char of RFC 8187 3.2.1 beyond letters and digits; quote() keeps "-._~".
_ATTR_CHARS = "!#$&+^`|"
_SAFE = re.compile(
    r'(attachment|inline)(; filename="[ !#-\[\]-~]*")?(; filename\*=UTF-8\'\'[!-~]*)?'
)
_HIDDEN = frozenset({"Cc", "Cf", "Cs", "Zl", "Zp"})


def _base_name(name: str) -> str:
    last = re.split(r"[/\\]", name)[-1]
    visible = "".join(c for c in last if unicodedata.category(c) not in _HIDDEN)
    return visible.strip(" .") or "download"


def _ascii_fallback(name: str) -> str:
    decomposed = unicodedata.normalize("NFKD", name)
    plain = "".join(c for c in decomposed if not unicodedata.combining(c))
    # "%" would be decoded by some user agents (RFC 6266 appendix D).
    return re.sub(r'[^ -~]|["\\%;/]', "_", plain)


def content_disposition(filename: str, *, inline: bool = False) -> str:
    """The whole header value for a download of `filename`.

    Path parts, control, bidi and zero-width characters are dropped. The plain
    `filename` is ASCII; `filename*` carries the exact name where they differ.
    """
    name = _base_name(filename)
    fallback = _ascii_fallback(name)
    kind = "inline" if inline else "attachment"
    value = f'{kind}; filename="{fallback}"'
    if fallback == name:
        return value
    return f"{value}; filename*=UTF-8''{quote(name, safe=_ATTR_CHARS)}"


def is_safe_disposition(value: str) -> bool:
    """True for values of the exact shape `content_disposition` makes."""
    return _SAFE.fullmatch(value) is not None
