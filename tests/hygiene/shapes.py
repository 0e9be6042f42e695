"""What secrets look like, for those who search a repository or a log for them.

Written apart from the redaction of the product on purpose: what that forgets is found here.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from typing import Final, NamedTuple

__all__ = ["IN_FILES", "IN_LOGS", "Shape", "found", "hidden"]


class Shape(NamedTuple):
    """`hint` stands in every text that `pattern` matches; looking for it costs nothing."""

    kind: str
    hint: str
    pattern: re.Pattern[str]


def _shape(kind: str, hint: str, pattern: str) -> Shape:
    return Shape(kind, hint, re.compile(pattern))


IN_FILES: Final = (
    _shape("machine token", "wmt_", r"\bwmt_[a-z2-7]{110}"),
    _shape("webhook secret", "whsec_", r"\bwhsec_[A-Za-z0-9+/]{32,}"),
    _shape("transfer token", "v1.", r"\bv1\.[0-9a-f]{8}\.[A-Za-z0-9_-]{20,}\.[A-Za-z0-9_-]{43}"),
    _shape("invitation token", "i_", r"\bi_[a-z2-7]{26}\.[A-Za-z0-9_-]{43}"),
)
"""Secrets of ours. All are long and random: nothing else is taken for one."""

IN_LOGS: Final = (
    *IN_FILES,
    _shape("bearer token", "eyJ", r"\beyJ[A-Za-z0-9_-]{10,}\.[A-Za-z0-9_-]{10,}\."),
    _shape("authorization", "earer ", r"\b[Bb]earer [A-Za-z0-9._~+/-]{16,}"),
    _shape(
        "signed URL", "=",
        r"[?&](?:X-Amz-Signature|X-Amz-Credential|sig|signature|token)=(?!\[)[^\s&\"'<>]{8,}",
    ),
    _shape("private key", "PRIVATE KEY", r"-----BEGIN [A-Z ]{0,32}PRIVATE KEY"),
    _shape(
        "e-mail address", "@",
        r"[A-Za-z0-9.+_-]{1,64}@[A-Za-z0-9-]{1,63}(?:\.[A-Za-z0-9-]{2,63})+",
    ),
    _shape("password in a URL", "@", r"://[^\s/@:\"'<>\[\]]{1,64}:[^\s/@\"'<>\[\]]{1,64}@"),
)  # fmt: skip
"""Nothing of these may stand in a log, whoever made it."""


def found(shapes: Iterable[Shape], text: str) -> Iterator[tuple[str, int]]:
    """(kind, place) of all that looks so in `text`."""
    for shape in shapes:
        if shape.hint in text:
            for match in shape.pattern.finditer(text):
                yield shape.kind, match.start()


def hidden(shapes: Iterable[Shape], text: str) -> str:
    """`text` with dots for the secrets: what may be shown of a finding."""
    for shape in shapes:
        text = shape.pattern.sub("...", text) if shape.hint in text else text
    return text
