"""Many projects at once, written into the file of a store that nobody has open.

Each has the rows that a decision reads (HEAD, project, owner grant, a grant to
somebody), stamped once and copied with other ids; there are no events, which no
decision looks at.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from workspace.common.v1.classification_pb2 import Classification
from workspace.common.v1.permission_pb2 import Permission
from workspace.common.v1.visibility_pb2 import Visibility
from workspace.project.v1.grant_pb2 import Grant, GrantSource, GrantStatus, GrantTargetType
from workspace.project.v1.project_pb2 import Project, ProjectStatus

from services.model.families import FAMILIES
from services.model.times import to_timestamp
from services.records.plan import CommitPlan
from services.records.port import Put
from services.records.record import Activity, Head, Write
from services.records.sql.rows import parameters
from services.records.sql.statements import SqliteStatements

__all__ = ["add_projects", "project_id"]

_BATCH = 10_000
_HLC = "1700000000000.00000"


def project_id(number: int) -> str:
    """The id of a project; in order of their numbers."""
    return f"p_{number:026d}"


def add_projects(
    file: Path, count: int, *, owner: str, account_id: str, shared_with: str, every: int
) -> None:
    """Restricted projects 0 to `count` of the account, of which each `every`th
    may be viewed by `shared_with`. The server of the file must not run."""
    with closing(sqlite3.connect(file, isolation_level=None)) as connection:
        connection.execute("PRAGMA synchronous=OFF")
        connection.execute("PRAGMA cache_size=-200000")
        seq = connection.execute("SELECT coalesce(max(seq), 0) FROM items").fetchone()[0]
        plain = _templates(owner, account_id, "")
        shared = _templates(owner, account_id, shared_with)
        put = SqliteStatements().put
        for first in range(0, count, _BATCH):
            numbers = range(first, min(first + _BATCH, count))
            connection.execute("BEGIN IMMEDIATE")
            connection.executemany(put, _rows(numbers, plain, shared, every, seq + 10 * first))
            connection.execute("COMMIT")
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")


def _rows(
    numbers: range, plain: Sequence[Any], shared: Sequence[Any], every: int, seq: int
) -> Iterator[dict[str, Any]]:
    sample = project_id(0)[2:]
    for number in numbers:
        own = project_id(number)[2:]
        for template in shared if number % every == 0 else plain:
            seq += 1
            row = {
                name: value.replace(sample, own) if isinstance(value, str) else value
                for name, value in template.items()
            }
            yield row | {"rev": seq, "seq": seq}


def _templates(owner: str, account_id: str, shared_with: str) -> list[dict[str, Any]]:
    """The rows of project 0. Ids of projects and grants hold the same number."""
    return [parameters(put) for put in _puts(owner, account_id, shared_with)]


def _puts(owner: str, account_id: str, shared_with: str) -> Sequence[Put]:
    number, now = project_id(0)[2:], to_timestamp(datetime(2026, 1, 1, tzinfo=UTC))
    project = Project(
        project_id=project_id(0), account_id=account_id, name="bench", restricted=True,
        status=ProjectStatus.PROJECT_STATUS_ACTIVE, visibility=Visibility.VISIBILITY_PRIVATE,
        data_classification=Classification.CLASSIFICATION_INTERNAL,
        created_at=now, created_by=owner, updated_at=now, updated_by=owner,
    )
    people = [(owner, Permission.PERMISSION_OWNER, "o")]
    if shared_with:
        people.append((shared_with, Permission.PERMISSION_VIEW, "s"))
    grants = [
        Grant(
            grant_id=f"g_{kind}{number}", project_id=project.project_id, target_id=user_id,
            target_type=GrantTargetType.GRANT_TARGET_TYPE_USER, permissions=[permission],
            status=GrantStatus.GRANT_STATUS_ACTIVE, created_at=now, created_by=owner,
            source=GrantSource.GRANT_SOURCE_DIRECT, updated_at=now, updated_by=owner,
        )
        for user_id, permission, kind in people
    ]
    pk = f"PROJECT#{project.project_id}"
    writes: list[Write[Any]] = [Write(FAMILIES["project"], project)]
    writes += [Write(FAMILIES["project_grant"], grant) for grant in grants]
    plan = CommitPlan.of(
        pk, writes, activity=Activity("project.created", f"projects/{project.project_id}"),
        once=None, answer=None, actor="nbench.1", hlc=_HLC,
    )
    return plan.puts(Head(pk, 0, None))[: 1 + len(writes)]
