"""Tags: `AZURE_TAGS` and `--tag`, and how they are merged."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final

from services.setup.tags import TagRules, missing_tags

__all__ = ["TAGS", "merged", "missing"]

TAGS: Final = TagRules(
    "AZURE_TAGS",
    re.compile(r"[^<>%&\\?/\x00-\x1f]*"),
    r"no < > % & \ ? /",
    ("microsoft", "azure", "windows"),
    max_key=128,
    max_value=256,
    max_tags=40,
)
"""Limits of "Use tags to organize your Azure resources"; names of storage accounts' tags
are the shortest."""


def missing(wanted: Mapping[str, str], there: Mapping[str, str]) -> dict[str, str]:
    """What of `wanted` is not there with that value. Names of tags have no case."""
    values = {key.lower(): value for key, value in there.items()}
    return missing_tags(wanted, {key: values.get(key.lower(), "") for key in wanted})


def merged(wanted: Mapping[str, str], there: Mapping[str, str]) -> dict[str, str]:
    """All tags of the resource: a change sends the whole."""
    ours = {key.lower() for key in wanted}
    return {key: value for key, value in there.items() if key.lower() not in ours} | dict(wanted)
