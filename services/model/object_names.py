"""Which objects a stored record names: for backups, doctor and collection."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final

__all__ = ["NAMING_FAMILIES", "held_file", "object_names"]

NAMING_FAMILIES: Final = frozenset({"document", "derived_artifact", "metadata_record", "upload"})
"""Families whose records name objects."""

_HAS_FILE: Final = frozenset(
    {
        "DOCUMENT_STATUS_AVAILABLE",
        "DOCUMENT_STATUS_ARCHIVED",
        "DOCUMENT_STATUS_TRASHED",
        "DERIVED_ARTIFACT_STATUS_AVAILABLE",
    }
)


def object_names(members: Mapping[str, Any]) -> Iterator[str]:
    """Storage keys in the stored members of a record of `NAMING_FAMILIES`."""
    for named in (members.get("file", {}), members.get("pending_file", {}), members):
        if key := named.get("storage_key"):
            yield key


def held_file(members: Mapping[str, Any]) -> Mapping[str, Any] | None:
    """The file whose bytes must be there (`storage_key`, `size_bytes`, `sha256`);
    None when the record's status promises none."""
    file: Mapping[str, Any] = members.get("file", {})
    return file if members.get("status") in _HAS_FILE and file.get("storage_key") else None
