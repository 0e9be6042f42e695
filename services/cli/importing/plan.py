"""Where a file goes and what has to be done for it: pure decisions."""

from __future__ import annotations

import unicodedata
from dataclasses import dataclass
from enum import Enum

from services.cli.importing.state import Known
from services.model.names import validate_document_name, validate_relative_path

__all__ = ["Action", "Place", "decide", "place_of"]


class Action(Enum):
    """What a file needs."""

    CREATE = "create"
    """A new document."""
    RESUME = "resume"
    """The document is there and waits for its file."""
    COMPARE = "compare"
    """A file of that size is there: the checksum decides."""
    REVISE = "revise"
    """Another file is there: a new file revision."""


@dataclass(frozen=True, slots=True)
class Place:
    """Folder and name of a document in its project, as the server keeps them.
    `renamed`: the local name was not in Unicode form NFC."""

    folder: str
    name: str
    renamed: bool = False

    @property
    def path(self) -> str:
        return f"{self.folder}/{self.name}" if self.folder else self.name


def place_of(relative: str, into: str = "") -> Place:
    """The place of a local path. Raises WorkspaceError (INVALID_FIELD) with
    the reason for a name that no workspace accepts."""
    whole = f"{into.strip('/')}/{relative}" if into.strip("/") else relative
    folder, _, name = whole.rpartition("/")
    place = Place(validate_relative_path("folder", folder), validate_document_name("name", name))
    return Place(place.folder, place.name, renamed=not unicodedata.is_normalized("NFC", whole))


def decide(known: Known | None, size: int) -> Action:
    """What a local file of `size` bytes needs, given what the project has."""
    if known is None:
        return Action.CREATE
    if not known.has_file:
        return Action.RESUME
    return Action.COMPARE if known.size == size else Action.REVISE


