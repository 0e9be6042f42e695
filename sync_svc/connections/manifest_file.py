"""The file `connections.json`: its shape, how it is read, and how it is replaced.

    {"version": 1, "connections": [{"connection_id": "disk", ...}]}

A manifest has the field names of the contract; `revision` is ours and new at every
change made through the API. Members that this release does not know are kept. The
file is for people, too: it may be edited while nobody changes a connection.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from google.protobuf.json_format import MessageToDict, ParseDict, ParseError
from workspace.sync.v1.connection_pb2 import Connection, ConnectionStatus, SyncScope

from services.model.canonical import canonical_json
from services.model.errors import Reason, WorkspaceError
from services.private_files import install_private
from services.rpc.validation import Validator
from sync_svc.connections.secrets import refuse_secrets_in

__all__ = [
    "Document", "Entry", "entry_of", "locked", "manifest_of", "read_document", "write_document",
]  # fmt: skip

Entry = dict[str, Any]
Document = dict[str, Any]
_VERSION = 1
_LOCK_SECONDS = 5.0
_MOST_BYTES = 32 << 20
_KNOWN = frozenset(Connection.DESCRIPTOR.fields_by_name)
_NOTED = ("instance", "last_reached_at", "etag")


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold the lock of the file against other processes. Blocks up to 5 s; raises
    INVALID_STATE when somebody keeps it."""
    fd = os.open(path.with_name(path.name + ".lock"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        _take(fd, path)
        yield
    finally:
        os.close(fd)


def read_document(path: Path, validator: Validator) -> Document:
    """The file, checked; an absent file is empty. Raises INVALID_STATE that names
    the file and the field."""
    try:
        with path.open("rb") as file:
            data = file.read(_MOST_BYTES + 1)
    except FileNotFoundError:
        return {"version": _VERSION, "connections": []}
    except OSError as error:
        raise bad(path, "", f"cannot be read ({error.strerror})") from error
    if len(data) > _MOST_BYTES:
        raise bad(path, "", f"has more than {_MOST_BYTES} bytes")
    try:
        document = json.loads(data)
    except ValueError as error:
        raise bad(path, "", f"is not JSON ({error})") from None
    _check(path, document, validator)
    return dict(document)


def write_document(path: Path, document: Document) -> None:
    """Replace the file durably (0600). Raises STORAGE_FULL, BACKEND_UNAVAILABLE."""
    text = json.dumps(document, indent=2, ensure_ascii=False, sort_keys=True) + "\n"
    try:
        install_private(path, text.encode(), replace=True)
    except OSError as error:
        full = error.errno in (28, 122)  # ENOSPC, EDQUOT
        reason = Reason.ERROR_REASON_STORAGE_FULL if full else (
            Reason.ERROR_REASON_BACKEND_UNAVAILABLE
        )
        raise WorkspaceError(
            reason, f"{path.name} cannot be written ({error.strerror}); nothing was changed",
            metadata={"file": path.name},
        ) from error


def manifest_of(entry: Entry) -> Connection:
    """The manifest of a checked entry, with its etag."""
    known = {name: value for name, value in entry.items() if name in _KNOWN}
    connection = ParseDict(known, Connection(), ignore_unknown_fields=True)
    connection.etag = _etag(entry)
    return connection


def entry_of(connection: Connection, before: Mapping[str, Any], *, revision: str) -> Entry:
    """The entry of a manifest; members of `before` that nobody knows stay."""
    entry: Entry = {name: value for name, value in before.items() if name not in _KNOWN}
    entry |= MessageToDict(connection, preserving_proto_field_name=True)
    entry.pop("etag", None)
    scope = before.get("scope")
    if isinstance(scope, dict) and "scope" in entry:
        fields = SyncScope.DESCRIPTOR.fields_by_name
        entry["scope"] |= {name: value for name, value in scope.items() if name not in fields}
    return entry | {"revision": revision}


def _etag(entry: Entry) -> str:
    """Of all that people change, by the API or by hand."""
    told = {name: value for name, value in entry.items() if name not in _NOTED}
    changed = ConnectionStatus.Name(ConnectionStatus.CONNECTION_STATUS_SURFACE_CHANGED)
    if told.get("status") in (changed, int(ConnectionStatus.CONNECTION_STATUS_SURFACE_CHANGED)):
        told["status"] = ConnectionStatus.Name(ConnectionStatus.CONNECTION_STATUS_ACTIVE)
    digest = hashlib.sha256(canonical_json(told).encode()).hexdigest()
    return f'"{digest[:20]}"'


def bad(path: Path, field: str, problem: str) -> WorkspaceError:
    """INVALID_STATE that says where and what."""
    where = f"{path.name}: {field}" if field else path.name
    return WorkspaceError(
        Reason.ERROR_REASON_INVALID_STATE,
        f"{where} {problem}; mend the file, or move it away to begin without connections",
        metadata={"file": path.name, "field": field},
    )


def _check(path: Path, document: Any, validator: Validator) -> None:
    if not isinstance(document, dict):
        raise bad(path, "", "must be an object")
    if document.get("version") != _VERSION:
        raise bad(path, "version", f"must be {_VERSION}, or a newer release is needed")
    entries = document.get("connections")
    if not isinstance(entries, list):
        raise bad(path, "connections", "must be a list")
    seen: set[str] = set()
    for at, entry in enumerate(entries):
        field = f"connections[{at}]"
        connection_id = _check_entry(path, field, entry, validator)
        if connection_id in seen:
            raise bad(path, f"{field}.connection_id", f"'{connection_id}' is there twice")
        seen.add(connection_id)


def _check_entry(path: Path, field: str, entry: Any, validator: Validator) -> str:
    if not isinstance(entry, dict):
        raise bad(path, field, "must be an object")
    for name in sorted(_KNOWN & entry.keys()):
        try:
            ParseDict({name: _known_inside(name, entry[name])}, Connection())
        except ParseError as error:
            raise bad(path, f"{field}.{name}", f"is wrong ({error})") from None
    connection = manifest_of(entry)
    for name in ("connection_id", "provider"):
        if not getattr(connection, name):
            raise bad(path, f"{field}.{name}", "is missing")
    for violation in validator.violations(connection):
        raise bad(path, f"{field}.{violation.field}", violation.description)
    try:
        refuse_secrets_in(connection)
    except WorkspaceError as error:
        name = error.metadata["field"].removeprefix("connection.")
        raise bad(path, f"{field}.{name}", error.violations[0].description) from None
    return connection.connection_id


def _known_inside(name: str, value: Any) -> Any:
    """A member without what a newer release put into it. (The parser passes over
    unknown words of an enum, too, if it is told to ignore unknown members.)"""
    inner = Connection.DESCRIPTOR.fields_by_name[name].message_type
    if not isinstance(value, dict) or inner is None or name == "settings":
        return value
    return {key: each for key, each in value.items() if key in inner.fields_by_name}


def _take(fd: int, path: Path) -> None:
    until = time.monotonic() + _LOCK_SECONDS
    while True:
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() > until:
                raise bad(path, "", "is locked by another process") from None
            time.sleep(0.02)
        else:
            return
