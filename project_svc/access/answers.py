"""Decisions and records in the shape of the contract."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from typing import TYPE_CHECKING

from workspace.identity.v1.account_pb2 import AccountRole
from workspace.project.v1.grant_pb2 import Grant
from workspace.project.v1.permission_pb2 import EffectivePermissions, PermissionSource
from workspace.project.v1.project_pb2 import Project

from services.model.permissions import Effective, Source
from services.model.times import to_timestamp
from services.records.record import Record

if TYPE_CHECKING:
    from workspace.common.v1.permission_pb2 import Permission

__all__ = [
    "effective_message",
    "permission_values",
    "project_message",
    "source_message",
    "touched",
]


def permission_values(permissions: Iterable[int]) -> list[Permission.ValueType]:
    """In the order of the ladder."""
    return sorted(permissions)  # type: ignore[arg-type]


def project_message(record: Record[Project], permissions: Iterable[int]) -> Project:
    """The project with etag and what the caller may do."""
    project = record.shown()
    project.my_permissions.extend(permission_values(permissions))
    return project


def touched(record: Project | Grant, *, user_id: str, now: datetime) -> None:
    """Note who changed the record, and when."""
    record.updated_at.CopyFrom(to_timestamp(now))
    record.updated_by = user_id


def effective_message(
    project_id: str, user_id: str, effective: Effective, *, sources: bool
) -> EffectivePermissions:
    """The union and, when asked for, what contributes to it."""
    message = EffectivePermissions(
        project_id=project_id,
        user_id=user_id,
        permissions=permission_values(effective.permissions),
        reduced=effective.reduced,
    )
    if sources:
        message.sources.extend(map(source_message, effective.sources))
    return message


def source_message(source: Source) -> PermissionSource:
    """One source of a permission, with its names."""
    role = AccountRole.Name(source.role).removeprefix("ACCOUNT_ROLE_").lower()  # type: ignore[arg-type]
    message = PermissionSource(
        kind=source.kind,  # type: ignore[arg-type]
        grant_id=source.grant_id,
        team_id=source.team_id,
        account_id=source.account_id,
        role=role if source.role else "",
        permissions=permission_values(source.permissions),
        grant_source=source.grant_source,  # type: ignore[arg-type]
    )
    if source.expires_at is not None:
        message.expires_at.CopyFrom(to_timestamp(source.expires_at))
    return message
