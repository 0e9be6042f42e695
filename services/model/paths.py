"""Storage keys: one prefix shape on every provider, built and read here only.

```
accounts/{account_id}/projects/{project_id}/documents/{document_id}/raw/{filename}
workspaces/{workspace_id}/projects/{project_id}/documents/{document_id}/raw/{filename}
.../documents/{document_id}/derived/{artifact_id}/{filename}
```

A key is made of ids and a `safe_filename`; nothing a user typed reaches a path.
`str(parse_storage_key(k)) == k` for every accepted `k`. Prefixes end with `/`, so
that project `a` is never a prefix of project `ab`.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Final

from services.model.errors import invalid_field
from services.model.names import (
    MAX_FILENAME_BYTES,
    is_filename_of_key,
    safe_filename,
    shorten,
    split_extension,
    validate_id,
)

__all__ = [
    "Home",
    "StorageKey",
    "belongs_to",
    "derived_key",
    "document_prefix",
    "home_of",
    "homeless",
    "parse_storage_key",
    "prefix_of",
    "raw_key",
    "revision_filename",
]

_ACCOUNTS: Final = "accounts"
_WORKSPACES: Final = "workspaces"


@dataclass(frozen=True, slots=True)
class Home:
    """The one home of a project: an account, or a personal workspace."""

    kind: str
    id: str

    def __post_init__(self) -> None:
        if self.kind not in (_ACCOUNTS, _WORKSPACES):
            raise invalid_field("home", "must be 'accounts' or 'workspaces'")
        validate_id("account_id" if self.kind == _ACCOUNTS else "workspace_id", self.id)


@dataclass(frozen=True, slots=True)
class StorageKey:
    """The parts of a storage key. `artifact_id` is empty for a raw object."""

    home: Home
    project_id: str
    document_id: str
    filename: str
    artifact_id: str = ""

    def __post_init__(self) -> None:
        validate_id("project_id", self.project_id)
        validate_id("document_id", self.document_id)
        if self.artifact_id:
            validate_id("artifact_id", self.artifact_id)
        if not is_filename_of_key(self.filename):
            raise invalid_field(
                "filename", "is not a safe file name; pass it through safe_filename"
            )

    def __str__(self) -> str:
        folder = f"derived/{self.artifact_id}" if self.artifact_id else "raw"
        prefix = document_prefix(self.home, self.project_id, self.document_id)
        return f"{prefix}{folder}/{self.filename}"

    def rehomed(self, home: Home) -> StorageKey:
        """The key of the same object under another home (relocation)."""
        return replace(self, home=home)


def home_of(*, account_id: str, workspace_id: str) -> Home:
    """The home of a project; exactly one of the two ids is set."""
    if bool(account_id) == bool(workspace_id):
        raise invalid_field("account_id", "set either account_id or workspace_id, not both or none")
    return Home(_ACCOUNTS, account_id) if account_id else Home(_WORKSPACES, workspace_id)


def raw_key(home: Home, project_id: str, document_id: str, name: str) -> str:
    """The storage key of an uploaded file called `name`."""
    return str(StorageKey(home, project_id, document_id, safe_filename(name)))


def derived_key(home: Home, project_id: str, document_id: str, artifact_id: str, name: str) -> str:
    """The storage key of a derived output of a document."""
    validate_id("artifact_id", artifact_id)
    return str(StorageKey(home, project_id, document_id, safe_filename(name), artifact_id))


def prefix_of(home: Home, project_id: str) -> str:
    """The prefix of everything of one project."""
    validate_id("project_id", project_id)
    return f"{home.kind}/{home.id}/projects/{project_id}/"


def document_prefix(home: Home, project_id: str, document_id: str) -> str:
    """The prefix of everything of one document."""
    validate_id("document_id", document_id)
    return f"{prefix_of(home, project_id)}documents/{document_id}/"


def revision_filename(name: str, revision: int, upload_id: str) -> str:
    """`{stem}.r{n}-{last 8 of upload_id}{ext}`, safe and at most 200 bytes.

    `revision` counts from 1; the first upload keeps its plain name.
    """
    validate_id("upload_id", upload_id)
    if revision < 1:
        raise invalid_field("revision", "must be 1 or more")
    stem, extension = split_extension(safe_filename(name))
    mark = f".r{revision}-{upload_id[-8:]}"
    room = MAX_FILENAME_BYTES - len((mark + extension).encode())
    # Safe once more: an id may end in a dot, a name may lose its extension.
    return safe_filename(shorten(stem, room) + mark + extension)


def parse_storage_key(key: str) -> StorageKey:
    """The parts of a key. Raises INVALID_FIELD `storage_key` for any other shape."""
    parts = key.split("/")
    match parts:
        case [kind, home_id, "projects", project, "documents", document, "raw", name]:
            artifact = ""
        case [
            kind,
            home_id,
            "projects",
            project,
            "documents",
            document,
            "derived",
            artifact,
            name,
        ] if artifact:
            pass
        case _:
            raise invalid_field("storage_key", "is not a key of this workspace")
    return StorageKey(Home(kind, home_id), project, document, name, artifact)


def homeless(key: str) -> str:
    """What a well-formed key says apart from its home: equal for the copies of
    one file under different homes."""
    return key.split("/", 2)[-1]


def belongs_to(key: str, *, home: Home, project_id: str, document_id: str) -> bool:
    """Whether a well-formed key lies under this document of this project and home."""
    parts = parse_storage_key(key)
    return (parts.home, parts.project_id, parts.document_id) == (home, project_id, document_id)
