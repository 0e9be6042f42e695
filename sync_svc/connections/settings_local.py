"""The setting of a folder: what is wrong with it, and what the folder is called."""

from __future__ import annotations

import os
from collections.abc import Mapping

__all__ = ["folder", "folder_name"]


def folder(value: str) -> str:
    """What is wrong with a folder; '': nothing."""
    if not os.path.isabs(value):  # noqa: PTH117 - a text, not a path of this machine
        return "must be an absolute path"
    return "" if value.isprintable() else "has characters that cannot be printed"


def folder_name(settings: Mapping[str, str]) -> str:
    """`folder:{path}`, without links."""
    return "folder:" + os.path.realpath(settings.get("folder", ""))
