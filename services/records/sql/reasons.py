"""Why PostgreSQL cannot be used, in words that name neither host nor user."""

from __future__ import annotations

from typing import Final

__all__ = ["failure_kind"]

_WORDS: Final = (
    ("it refuses the password", ("password authentication failed",)),
    ("it wants a password", ("no password",)),
    ("it has no such database", ("database", "does not exist")),
    ("it has no such user", ("role", "does not exist")),
    ("it lets nobody in from here", ("no pg_hba.conf entry",)),
    ("nothing listens there", ("connection refused",)),
    ("nothing listens there", ("no such file or directory",)),
    ("its host is not known", ("resolve host",)),
    ("its host is not known", ("translate host",)),
    ("no answer in time", ("timeout",)),
    ("no answer in time", ("timed out",)),
    ("it is starting", ("starting up",)),
    ("it is starting", ("not yet accepting",)),
    ("it is stopping", ("shutting down",)),
    ("it has no connection left", ("too many clients",)),
    ("it has no connection left", ("connection slots",)),
    ("its certificate is not trusted", ("certificate",)),
    ("TLS cannot be agreed on", ("ssl",)),
)
"""What libpq and the server say, each word of a row, when a connection is not made: libpq
gives those failures no SQLSTATE. A server that speaks another language is not understood."""


def failure_kind(failure: Exception) -> str:
    """The SQLSTATE of a failure, what we know of it, or the name of its type."""
    state = getattr(failure, "sqlstate", None)
    if state is not None:
        return str(state)
    text = str(failure).lower()
    known = (words for words, signs in _WORDS if all(sign in text for sign in signs))
    return next(known, type(failure).__name__)
