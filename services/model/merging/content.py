"""The fields of a body that are content: they travel and are in the digest."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from services.model.families import Family

__all__ = ["content_of"]


def content_of(family: Family, members: Mapping[str, Any]) -> dict[str, Any]:
    """The members that travel and are in the digest."""
    left_out = family.stamp_fields | family.local_fields
    return {name: value for name, value in members.items() if name not in left_out}
