"""The versions of a conflict merged as far as they can be, for people to look at."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from services.model.families import Family
from services.model.merging.combine import combined
from services.model.merging.content import content_of
from services.model.merging.sides import sides_of
from services.model.versions import Version

__all__ = ["merged_members"]


def merged_members(family: Family, versions: Sequence[Version]) -> dict[str, Any]:
    """Members with every field merged that can be; fields that disagree have the
    value of the winner. Empty when all versions are deletions."""
    sides = sides_of(family, versions)
    if not sides:
        return {}
    content = content_of(family, sides[0].members)
    rest = {name: v for name, v in sides[0].members.items() if name not in content}
    return rest | combined(family.name, sides).content
