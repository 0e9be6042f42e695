"""The records of a simulated world, one kind for every merge policy.

Each write leaves a mark, `w00042`, in a content field, so that a version can be
told apart whatever its dot is. A later write has a greater number.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from google.protobuf.timestamp_pb2 import Timestamp
from workspace.common.v1.permission_pb2 import Permission
from workspace.identity.v1.account_pb2 import (
    Account,
    AccountMember,
    AccountRole,
    AccountStatus,
    MemberStatus,
)
from workspace.identity.v1.preference_pb2 import NotificationDelivery, NotificationPreference
from workspace.project.v1.document_pb2 import Document, DocumentStatus
from workspace.project.v1.grant_pb2 import Grant, GrantSource, GrantStatus, GrantTargetType
from workspace.project.v1.history_pb2 import MetadataRecord, MetadataRecordType
from workspace.project.v1.project_pb2 import Project

from services.model.families import FAMILIES, Family
from services.model.paths import Home, raw_key
from services.records.port import Key

__all__ = [
    "CAST", "FIRST_MARK", "Slot", "bytes_of", "document_file", "mark_in", "marked",
    "metadata_slot",
]  # fmt: skip

_MARK = re.compile(r"w\d{5}")
_CREATED = Timestamp(seconds=1_763_000_000)
_HOME = Home("accounts", "a_1")
FIRST_MARK = 100
"""Lower marks are of first writes that several nodes make alike."""


@dataclass(frozen=True)
class Slot:
    """A record that may be there: `make(mark)` is its first message, `edit(message,
    mark, roll)` changes it; `roll` is 0, 1 or 2 and says how."""

    family: Family
    make: Callable[[str], Any]
    edit: Callable[[Any, str, int], None]
    owner_bearing: bool = False

    @property
    def key(self) -> Key:
        return Key(*self.family.key_of(self.make("w00000")))

    @property
    def pk(self) -> str:
        return self.key.pk


def mark_in(body: str) -> str:
    """The mark of who wrote this body last; '' for none (a tombstone)."""
    return max(_MARK.findall(body), default="")


def marked(number: int) -> str:
    return f"w{number:05d}"


def bytes_of(storage_key: str) -> bytes:
    """What the object of a key contains: told by the key."""
    return hashlib.sha256(storage_key.encode()).digest()


def document_file(document_id: str, project_id: str, revision: str) -> str:
    """The storage key of one revision of a document's file."""
    return raw_key(_HOME, project_id, document_id, f"{revision}.bin")


def _account() -> Slot:
    def make(mark: str) -> Account:
        return Account(
            account_id="a_1", name="Account", description=mark, owner_user_id="u_1",
            status=AccountStatus.ACCOUNT_STATUS_ACTIVE, created_at=_CREATED,
        )

    def edit(account: Account, mark: str, roll: int) -> None:
        setattr(account, ("description", "billing_plan", "name")[roll], mark)

    return Slot(FAMILIES["account"], make, edit)


def _member(number: int, role: AccountRole.ValueType) -> Slot:
    def make(mark: str) -> AccountMember:
        return AccountMember(
            account_id="a_1", user_id=f"u_{number}", role=role, created_by=mark,
            status=MemberStatus.MEMBER_STATUS_ACTIVE, created_at=_CREATED,
        )

    def edit(member: AccountMember, mark: str, roll: int) -> None:
        member.created_by = mark
        if roll == 1:
            member.role = AccountRole.ACCOUNT_ROLE_VIEWER
        elif roll == 2:
            member.role = role

    owner = role == AccountRole.ACCOUNT_ROLE_OWNER
    return Slot(FAMILIES["account_member"], make, edit, owner_bearing=owner)


def _project(number: int) -> Slot:
    def make(mark: str) -> Project:
        return Project(
            project_id=f"p_{number}", name=f"Project {number}", description=mark,
            account_id="a_1", created_at=_CREATED, created_by="u_1",
        )

    def edit(project: Project, mark: str, roll: int) -> None:
        if roll == 2:
            project.restricted = not project.restricted
        setattr(project, ("description", "billing_scope", "description")[roll], mark)

    return Slot(FAMILIES["project"], make, edit)


def _grant(number: int, permission: Permission.ValueType) -> Slot:
    def make(mark: str) -> Grant:
        return Grant(
            grant_id=f"g_{number}", project_id="p_1", target_id=f"u_{number}", note=mark,
            target_type=GrantTargetType.GRANT_TARGET_TYPE_USER, permissions=[permission],
            source=GrantSource.GRANT_SOURCE_DIRECT, status=GrantStatus.GRANT_STATUS_ACTIVE,
            created_at=_CREATED, created_by="u_1",
        )

    def edit(grant: Grant, mark: str, roll: int) -> None:
        grant.note = mark
        if roll == 1:
            del grant.permissions[:]
            grant.permissions.append(Permission.PERMISSION_VIEW)

    owner = permission == Permission.PERMISSION_OWNER
    return Slot(FAMILIES["project_grant"], make, edit, owner_bearing=owner)


def _document(number: int) -> Slot:
    document_id, project_id = f"d_{number}", f"p_{number % 2 + 1}"

    def make(mark: str) -> Document:
        document = Document(
            document_id=document_id, project_id=project_id, account_id="a_1", title=mark,
            status=DocumentStatus.DOCUMENT_STATUS_AVAILABLE, created_at=_CREATED,
        )
        _attach(document, f"first-{mark[1:]}", 1)
        return document

    def edit(document: Document, mark: str, roll: int) -> None:
        if roll == 0:
            document.title = mark
            return
        document.issuing_body = mark
        if roll == 2:
            _attach(document, f"file-{mark[1:]}", document.file.file_revision + 1)

    return Slot(FAMILIES["document"], make, edit)


def _attach(document: Document, revision: str, number: int) -> None:
    key = document_file(document.document_id, document.project_id, revision)
    data = bytes_of(key)
    file = document.file
    file.filename, file.storage_key, file.file_revision = f"{revision}.bin", key, number
    file.size_bytes, file.sha256 = len(data), hashlib.sha256(data).hexdigest()
    file.content_type = "application/octet-stream"
    file.storage_provider = "local"
    document.storage_key = key
    document.size_bytes = len(data)


def _preference() -> Slot:
    def make(mark: str) -> NotificationPreference:
        return NotificationPreference(
            user_id="u_1", topic="documents", created_by=mark, created_at=_CREATED,
            delivery=NotificationDelivery.NOTIFICATION_DELIVERY_EMAIL,
        )

    def edit(preference: NotificationPreference, mark: str, roll: int) -> None:
        preference.created_by = mark
        if roll:
            preference.delivery = NotificationDelivery.NOTIFICATION_DELIVERY_NONE

    return Slot(FAMILIES["notification_preference"], make, edit)


def metadata_slot(mark: str) -> Slot:
    """An append-only record: written once under an id of its own."""

    def make(_: str) -> MetadataRecord:
        return MetadataRecord(
            metadata_record_id=f"m_{mark[1:]}", document_id="d_1", project_id="p_2",
            timestamp=_CREATED, note=mark, schema_version=1,
            record_type=MetadataRecordType.METADATA_RECORD_TYPE_CURATED,
        )

    def edit(record: MetadataRecord, mark: str, roll: int) -> None:
        raise AssertionError("written once")

    return Slot(FAMILIES["metadata_record"], make, edit)


CAST = (
    _account(),
    _member(1, AccountRole.ACCOUNT_ROLE_OWNER),
    _member(2, AccountRole.ACCOUNT_ROLE_ADMINISTRATOR),
    _project(1),
    _project(2),
    _grant(1, Permission.PERMISSION_OWNER),
    _grant(2, Permission.PERMISSION_WRITE),
    _document(1),
    _document(2),
    _document(3),
    _preference(),
)
