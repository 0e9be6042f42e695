"""Where a file goes and what has to be done for it: pure decisions."""

from __future__ import annotations

import unicodedata
from dataclasses import dataclass
from enum import Enum

from services.cli.failures import usage
from services.cli.importing.state import Known
from services.model.errors import WorkspaceError
from services.model.names import validate_document_name, validate_relative_path

__all__ = ["Action", "Place", "decide", "place_of", "require_folder"]


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


def require_folder(into: str) -> None:
    """Refuse an --into that no workspace accepts, once and before anything is sent."""
    try:
        validate_relative_path("--into", into.strip("/"))
    except WorkspaceError as error:
        raise usage(
            error.message, remedy="name a folder of the project, for example reports/2027"
        ) from None


def decide(known: Known | None, size: int) -> Action:
    """What a local file of `size` bytes needs, given what the project has."""
    if known is None:
        return Action.CREATE
    if not known.has_file:
        return Action.RESUME
    return Action.COMPARE if known.size == size else Action.REVISE


