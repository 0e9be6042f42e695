"""Manifests hold no secret: whatever looks like one is refused by its field.

They are listed, backed up and copied between machines. Credentials come from the
environment of the server.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from itertools import pairwise
from typing import Final

from workspace.sync.v1.connection_pb2 import Connection

from services.model.errors import FieldViolation, Reason, WorkspaceError
from services.model.selection import refuse_secrets

__all__ = ["looks_random", "refuse_secrets_in"]

_REMEDY: Final = (
    "looks like a secret; leave it out: credentials come from the environment of the server"
)
_PIECE: Final = re.compile(r"[A-Za-z0-9+/_=.~-]{24,}", re.ASCII)
_HEX: Final = re.compile(r"[0-9a-fA-F]{40,}", re.ASCII)
# Of Azure's shared access signatures: expiry and version beside each other or alone.
_SAS: Final = re.compile(r"(^|[?&;\s])(se|sv|sp|sr|skoid)=[^&\s]+(&|$)", re.IGNORECASE)
_BITS: Final = 3.5
_CHANGES: Final = 0.4  # of neighbours that differ in kind; 0.62 in base64, less in words


def refuse_secrets_in(connection: Connection) -> None:
    """Raise SECRET_REFUSED naming the first field that seems to hold a credential.
    The value itself is never repeated."""
    settings = dict(connection.settings)
    texts = {"name": connection.name, "note": connection.note}
    refuse_secrets({"settings": settings, **texts}, field="connection")
    for field, text in texts.items():
        if _SAS.search(text) or any(map(looks_random, text.split())):
            raise _refused(f"connection.{field}")
    for name, value in settings.items():
        paths = name == "folder" or value.startswith("/")
        pieces = value.split("/") if paths else [value]
        hidden = not paths and any(_HEX.fullmatch(piece) for piece in pieces)
        if hidden or _SAS.search(value) or any(map(looks_random, pieces)):
            raise _refused(f"connection.settings.{name}")


def looks_random(text: str) -> bool:
    """Whether a text has a run of 24 characters or more without a pattern: letters
    of both cases and digits, with at least 3.5 bits a character."""
    return any(map(_is_random, _PIECE.findall(text)))


def _is_random(piece: str) -> bool:
    letters = "".join(filter(str.isalnum, piece))
    if not all(any(map(kind, letters)) for kind in (str.islower, str.isupper, str.isdigit)):
        return False
    changes = sum(_kind(a) != _kind(b) for a, b in pairwise(letters))
    return _entropy(letters) >= _BITS and changes >= _CHANGES * len(letters)


def _kind(character: str) -> int:
    return 2 * character.isupper() + character.isdigit()


def _entropy(text: str) -> float:
    """Shannon entropy in bits a character."""
    shares = [count / len(text) for count in Counter(text).values()]
    return -sum(share * math.log2(share) for share in shares)


def _refused(field: str) -> WorkspaceError:
    return WorkspaceError(
        Reason.ERROR_REASON_SECRET_REFUSED,
        f"{field}: {_REMEDY}",
        metadata={"field": field},
        violations=[FieldViolation(field, _REMEDY)],
    )
