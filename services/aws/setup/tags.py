"""Tags: `AWS_TAGS` and `--tag`, and their form in the APIs."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Final

from services.setup.tags import TagRules

__all__ = ["TAGS", "as_list", "as_mapping"]

TAGS: Final = TagRules(
    "AWS_TAGS",
    re.compile(r"[\w .:/=+@-]*"),
    "letters, digits, spaces and _ . : / = + - @",
    ("aws:",),
    max_key=128,
    max_value=256,
    max_tags=40,
)
"""Limits of "Tagging your AWS resources" (General Reference)."""


def as_list(tags: Mapping[str, str]) -> list[dict[str, str]]:
    """In the form of the APIs."""
    return [{"Key": key, "Value": value} for key, value in sorted(tags.items())]


def as_mapping(tags: Iterable[Mapping[str, str]]) -> dict[str, str]:
    """Out of the form of the APIs."""
    return {tag["Key"]: tag["Value"] for tag in tags}
