"""Filters of event types: `noun.verb`, or `noun.*` for all of a noun."""

from __future__ import annotations

import re
from collections.abc import Collection

from services.model.errors import invalid_field

__all__ = ["check_event_types", "is_wanted"]

_PATTERN = re.compile(r"[a-z][a-z0-9_]*\.(\*|[a-z][a-z0-9_]*)")


def check_event_types(patterns: Collection[str]) -> None:
    """Raises INVALID_FIELD for what could never match."""
    for at, pattern in enumerate(patterns):
        if not _PATTERN.fullmatch(pattern):
            raise invalid_field(
                f"event_types[{at}]", "must be `noun.verb` or `noun.*`, for example `project.*`"
            )


def is_wanted(event_type: str, patterns: Collection[str]) -> bool:
    """Whether the filter lets the type through; an empty one lets all."""
    noun = event_type.partition(".")[0]
    return not patterns or event_type in patterns or f"{noun}.*" in patterns
