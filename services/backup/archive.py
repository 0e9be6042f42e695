"""The layout of a backup folder, and rows as lines.

    backup.json        what it is; written last: a folder without it is no backup
    records.jsonl.gz   every row of one moment, partition by partition
    objects/           the files that these rows name, at their storage keys
    keys/              key files (0600); left out with `--without-keys`

The rows are those of the record port, so a backup of one database can be
restored into another.
"""

from __future__ import annotations

import gzip
import hashlib
import json
import os
import secrets
import zlib
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import IO, Any

from services.model.errors import Reason, WorkspaceError
from services.model.indexes import Index
from services.private_files import install_private
from services.records.port import ABSENT, Item, Key, Put

__all__ = ["FORMAT", "Manifest", "RowWriter", "read_manifest", "read_rows", "row_line"]

FORMAT = 1
_MANIFEST = "backup.json"
_RECORDS = "records.jsonl.gz"
_MAX_LINE_BYTES = 8 * 1024 * 1024
"""Of a row: its body and stamp have 1.8 MB at most, and JSON in JSON grows."""
_MAX_MANIFEST_BYTES = 64 * 1024 * 1024
_DAMAGES = (
    OSError, EOFError, zlib.error, ValueError, KeyError, TypeError, RecursionError,
)  # fmt: skip
_NEW = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC


@dataclass(frozen=True, slots=True)
class Manifest:
    """`records_sha256` is over the lines of the rows that do not expire, in the order of
    the file; sizes are bytes, `created_at` is RFC 3339. `missing` are storage keys that a
    row of an available file names and that were not there."""

    instance_id: str
    created_at: str
    records: int
    records_sha256: str
    objects: int
    object_bytes: int
    keys: list[str]
    missing: list[str] = field(default_factory=list)
    format: int = FORMAT

    def members(self) -> dict[str, Any]:
        """For JSON."""
        return asdict(self)

    def write(self, folder: Path) -> None:
        """Replace the manifest in one step."""
        text = json.dumps(self.members(), indent=2, sort_keys=True) + "\n"
        install_private(folder / _MANIFEST, text.encode(), replace=True)


def read_manifest(folder: Path) -> Manifest:
    """What a backup says of itself. Raises INVALID_STATE with the remedy."""
    try:
        manifest = Manifest(**json.loads(_bounded(folder / _MANIFEST)))
    except FileNotFoundError:
        raise _refused(
            f"{folder} is no complete backup: it has no {_MANIFEST}; name the folder that "
            "`wm backup` wrote, or make the backup again"
        ) from None
    except (OSError, ValueError, TypeError, RecursionError) as error:
        raise _refused(f"{folder / _MANIFEST} cannot be read ({error})") from None
    if manifest.format > FORMAT:
        raise _refused(
            f"{folder} has backup format {manifest.format}, this program reads {FORMAT}; "
            "install the version that wrote it"
        )
    return manifest


class RowWriter:
    """Writes the rows, durable once closed. `digest` is valid then."""

    def __init__(self, folder: Path) -> None:
        self.count = 0
        self._digest = hashlib.sha256()
        self._path = folder / _RECORDS
        self._temp = folder / f".{_RECORDS}.{secrets.token_hex(8)}"
        fd = os.open(self._temp, _NEW, 0o600)
        self._raw: IO[bytes] = os.fdopen(fd, "wb")
        self._file = gzip.GzipFile(fileobj=self._raw, mode="wb", compresslevel=3, mtime=0)

    def write(self, items: Iterable[Item]) -> None:
        """Add rows; those of one partition come together."""
        for item in items:
            line = row_line(item)
            if item.expires_at is None:
                self._digest.update(line)
            self._file.write(line)
            self.count += 1

    def close(self) -> str:
        """Finish the file; the digest of its lines."""
        self._file.close()
        self._raw.flush()
        os.fsync(self._raw.fileno())
        self._raw.close()
        self._temp.replace(self._path)
        return self._digest.hexdigest()

    def discard(self) -> None:
        """Give it up; an earlier file stays."""
        self._raw.close()
        self._temp.unlink(missing_ok=True)


def row_line(item: Item | Put) -> bytes:
    """A row as a line. Versions of a row (`token`) are the database's own."""
    row: dict[str, Any] = {
        "pk": item.key.pk, "sk": item.key.sk, "family": item.family, "body": item.body,
        "stamp": item.stamp, "deleted": item.deleted, "expires_at": item.expires_at,
        "indexes": {index.name: list(pair) for index, pair in item.indexes.items()},
    }
    return json.dumps(row, sort_keys=True, ensure_ascii=False).encode() + b"\n"


def read_rows(folder: Path, expected_sha256: str, *, now: float) -> Iterator[Put]:
    """The rows to write, without those that expired before `now` (unix seconds). A line is
    looked at once it is known to be of a size that a row can have. Raises INVALID_STATE,
    when the lines are not those of the backup at their end."""
    digest = hashlib.sha256()
    try:
        with gzip.open(folder / _RECORDS, "rb") as file:
            for line in _lines(file):
                put = _put(json.loads(line))
                if put.expires_at is None:
                    digest.update(line)
                elif put.expires_at <= now:
                    continue
                yield put
    except _DAMAGES as error:
        raise _refused(f"{folder / _RECORDS} is damaged ({error}); use another backup") from None
    if digest.hexdigest() != expected_sha256:
        raise _refused(f"{folder / _RECORDS} is not the file that was written; use another backup")


def _lines(file: gzip.GzipFile) -> Iterator[bytes]:
    """The lines, none of which is ever held beyond its limit: a few bytes of a file may
    unpack to all the memory there is. Raises ValueError."""
    number = 1
    while line := file.readline(_MAX_LINE_BYTES + 1):
        if len(line) > _MAX_LINE_BYTES:
            raise ValueError(f"line {number} has more than {_MAX_LINE_BYTES} bytes")
        yield line
        number += 1


def _bounded(path: Path) -> bytes:
    with path.open("rb") as file:
        data = file.read(_MAX_MANIFEST_BYTES + 1)
    if len(data) > _MAX_MANIFEST_BYTES:
        raise ValueError(f"it has more than {_MAX_MANIFEST_BYTES} bytes")
    return data


def _put(row: dict[str, Any]) -> Put:
    indexes = {Index[name]: (pair[0], pair[1]) for name, pair in row["indexes"].items()}
    return Put(
        Key(row["pk"], row["sk"]), ABSENT, row["family"], row["body"], row["stamp"],
        deleted=row["deleted"], expires_at=row["expires_at"], indexes=indexes,
    )


def _refused(message: str) -> WorkspaceError:
    return WorkspaceError(Reason.ERROR_REASON_INVALID_STATE, message)
