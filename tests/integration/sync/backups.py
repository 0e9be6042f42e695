"""Where the backups of the scenarios lie: in folders, in DynamoDB and S3, or in Cosmos DB and
Blob Storage (backups_azure.py).

A scenario names a backup by a folder; `Backups` says what connection that is. What
becomes of a backup behind everybody's back (`gone`) each kind does in its own way.
"""

from __future__ import annotations

import os
import uuid
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from pathlib import Path
from typing import Any, Protocol

import pytest

from sync_svc.surfaces.aws import variable_of
from tests.servers import aws
from tests.servers.faulty import Fault, Faulty

__all__ = ["Backups", "Clouds", "Folders", "chosen_kinds"]

_KINDS = ("folder", "aws", "azure")


def chosen_kinds(*, every_day: bool) -> Sequence[str]:
    """`WM_TEST_SURFACE`=folder, aws or azure: that one alone. Unset: folders, and the clouds
    too for what is to run on them every day."""
    name = os.environ.get("WM_TEST_SURFACE", "")
    if name not in {"", *_KINDS}:
        raise pytest.UsageError(f"WM_TEST_SURFACE={name}: {', '.join(_KINDS)}")
    if name:
        return (name,)
    return _KINDS if every_day else _KINDS[:1]


class Backups(Protocol):
    """See the module."""

    def manifest(self, folder: Path, connection_id: str) -> dict[str, Any]:
        """`provider` and `settings` of a connection to the backup of this name."""
        ...

    def gone(self, folder: Path, what: str, other: Path) -> AbstractContextManager[None]:
        """`what`: "unmounted" (it is back at the end), "emptied", or "re-pointed": the
        backup `other` is found in its place."""
        ...


class Folders:
    """Backup folders."""

    def manifest(self, folder: Path, connection_id: str) -> dict[str, Any]:
        return {"provider": "local", "settings": {"folder": str(folder)}}

    @contextmanager
    def gone(self, folder: Path, what: str, other: Path) -> Iterator[None]:
        away = folder.with_name("away")
        folder.rename(away)
        if what == "emptied":
            folder.mkdir()
        if what == "re-pointed":
            other.rename(folder)
        yield
        if what == "unmounted":
            away.rename(folder)


class Clouds:
    """A table and a bucket for each name, behind a proxy of this process. `close` it."""

    def __init__(self, setenv: Any) -> None:
        self._setenv = setenv
        self._names: dict[Path, str] = {}
        self._stack = ExitStack()
        self._proxies = [self._proxy(s.url) for s in (aws.dynamodb_local(), aws.versitygw())]

    def _proxy(self, upstream: str) -> Faulty:
        made = Faulty(upstream).start()
        self._stack.callback(made.stop)
        return made

    def close(self) -> None:
        self._stack.close()

    def manifest(self, folder: Path, connection_id: str) -> dict[str, Any]:
        for part, value in (
            ("ACCESS_KEY_ID", aws.ACCESS_KEY), ("SECRET_ACCESS_KEY", aws.SECRET_KEY)
        ):  # fmt: skip
            self._setenv(variable_of(connection_id, part), value)
        name, (records, objects) = self._name(folder), self._proxies
        settings = {
            "region": aws.REGION, "table": name, "dynamodb_endpoint": records.url,
            "bucket": name, "s3_endpoint": objects.url, "path_style": "true",
        }  # fmt: skip
        return {"provider": "aws", "settings": settings}

    def _name(self, folder: Path) -> str:
        if folder not in self._names:
            self._names[folder] = name = f"backup-{uuid.uuid4().hex[:16]}"
            aws.make_table(aws.dynamodb_local(), name)
            aws.make_bucket(aws.versitygw(), name)
        return self._names[folder]

    @contextmanager
    def gone(self, folder: Path, what: str, other: Path) -> Iterator[None]:
        if what == "unmounted":
            for proxy in self._proxies:
                proxy.plan = lambda _asked: Fault.CUT
        else:
            _empty(self._name(folder))
        if what == "re-pointed":
            _copy(self._name(other), self._name(folder))
        yield
        for proxy in self._proxies:
            proxy.plan = lambda _asked: None


def _records() -> Any:
    return aws.clients_of(aws.dynamodb_local()).client("dynamodb")


def _objects() -> Any:
    return aws.clients_of(aws.versitygw()).client("s3", path_style=True)


def _rows(client: Any, table: str) -> list[dict[str, Any]]:
    pages = client.get_paginator("scan").paginate(TableName=table, ConsistentRead=True)
    return [item for page in pages for item in page["Items"]]


def _keys(client: Any, bucket: str) -> list[str]:
    pages = client.get_paginator("list_objects_v2").paginate(Bucket=bucket)
    return [each["Key"] for page in pages for each in page.get("Contents", [])]


def _empty(name: str) -> None:
    records, objects = _records(), _objects()
    for row in _rows(records, name):
        records.delete_item(TableName=name, Key={part: row[part] for part in ("PK", "SK")})
    for key in _keys(objects, name):
        objects.delete_object(Bucket=name, Key=key)


def _copy(source: str, target: str) -> None:
    records, objects = _records(), _objects()
    for row in _rows(records, source):
        records.put_item(TableName=target, Item=row)
    for key in _keys(objects, source):
        objects.copy_object(
            Bucket=target, Key=key, CopySource={"Bucket": source, "Key": key}
        )
