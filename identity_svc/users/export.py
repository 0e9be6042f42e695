"""ExportUserData and ExportAccountData: what the store holds, page by page.

Both walk rows and remember nothing: the page token is the row last looked at.
Secrets and hashes stay inside.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from typing import Any, Final

from google.protobuf.json_format import ParseDict
from google.protobuf.struct_pb2 import Struct
from workspace.identity.v1.account_service_pb2 import (
    AccountDataRecord,
    ExportAccountDataRequest,
    ExportAccountDataResponse,
)
from workspace.identity.v1.identity_service_pb2 import (
    ExportUserDataRequest,
    ExportUserDataResponse,
    UserDataRecord,
)

from identity_svc.accounts.rules import OWNER, PERSONAL, is_active
from identity_svc.directory import ACCOUNT, Directory, account_pk, invalid_state, timestamp
from identity_svc.listing import Pager
from identity_svc.users.users import require_self_or_admin
from services.kernel import Kernel
from services.model.errors import permission_denied
from services.model.families import FAMILIES
from services.model.ids import canonical_email
from services.model.indexes import Index
from services.model.seals import SEAL
from services.records.deciding import deciding
from services.records.port import Item, Key
from services.records.record import Activity, Write
from services.rpc.context import current_call
from services.rpc.page_tokens import page_size

__all__ = ["AccountExport", "UserExport"]

_SECRET: Final = re.compile(r"hash|secret")
_USER_ROWS: Final = 5_000
_ACCOUNT_ROWS: Final = 2_000
_SCAN: Final = 500
_LAST: Final = "~"
"""Above every sort key that begins with a letter or '#'."""
_ROOTS: Final = ("TEAM#", "PROJECT#", "ARTIFACT#", "INVITATION#", "OFFERED#", "GRANT#")
"""What of an account's index leads to partitions; a grant to the account leads to
a project elsewhere, so it stands for itself."""
_ABOUT: Final = ("user_id", "requester_user_id")
_BY: Final = {"upload": "created_by", "write_event": "actor_user_id"}
_EVENT_VALUES: Final = "changes"


class UserExport:
    """Records about one user, partition by partition in the order of the store."""

    def __init__(self, kernel: Kernel, directory: Directory) -> None:
        self._records = kernel.records
        self._directory = directory
        self._pager = Pager(kernel)

    async def page(self, request: ExportUserDataRequest) -> ExportUserDataResponse:
        await require_self_or_admin(self._directory, request.user_id, "export")
        found = await self._directory.user(request.user_id)
        # An address that nobody verified may be another person's.
        own = found.message if found and found.message.email_verified else None
        email = canonical_email(own.email) if own else ""
        limit, answer, seen = page_size(request), ExportUserDataResponse(), 0
        position = self._pager.position(request)
        while len(answer.records) < limit and seen < _USER_ROWS:
            after = Key(*json.loads(position)) if position else None
            items = await self._records.scan(after, _SCAN)
            if not items:
                return answer
            for item in items:
                position, seen = json.dumps([item.key.pk, item.key.sk]), seen + 1
                record = _about(item, request.user_id, email)
                if record is not None:
                    answer.records.append(record)
                if len(answer.records) == limit:
                    break
        answer.next_page_token = self._pager.token(request, position)
        return answer


class AccountExport:
    """Records of one account: its partition, then those that its index leads to."""

    def __init__(self, kernel: Kernel, directory: Directory) -> None:
        self._kernel = kernel
        self._records = kernel.records
        self._directory = directory
        self._pager = Pager(kernel)

    async def page(self, request: ExportAccountDataRequest) -> ExportAccountDataResponse:
        account_id = request.account_id
        await self._authorise(account_id)
        answer, seen, limit = ExportAccountDataResponse(), 0, page_size(request)
        walk = _Walk.load(self._pager.position(request), account_pk(account_id))
        while len(answer.records) < limit and seen < _ACCOUNT_ROWS:
            items = await self._next(walk, account_id, limit - len(answer.records))
            if items is None:
                await self._note_exported(account_id)
                return answer
            seen += len(items) + 1
            answer.records.extend(_account_records(items))
        answer.next_page_token = self._pager.token(request, walk.dump())
        return answer

    async def _authorise(self, account_id: str) -> None:
        place = await self._directory.account_place(account_id, current_call().user_id)
        member = place.member
        if place.account is None or member is None or not is_active(member):
            raise permission_denied("owner", f"accounts/{account_id}")
        if member.message.role != OWNER:
            raise permission_denied("owner", f"accounts/{account_id}")
        if place.account.message.type == PERSONAL:
            raise invalid_state(
                f"accounts/{account_id}", "personal", "use ExportUserData for what is yours"
            )

    async def _next(self, walk: _Walk, account_id: str, most: int) -> list[Item] | None:
        """Some rows after the walk's place, which moves on; None at the end."""
        if walk.root:
            page = await self._records.run(
                Index.BASE, walk.root, lower="", upper=_LAST, limit=min(most, _SCAN),
                after=walk.after,
            )
            walk.after = page.next
            if page.next is None:
                walk.root = ""
            return list(page.items)
        if walk.kind == len(_ROOTS):
            return None
        prefix = _ROOTS[walk.kind]
        page = await self._records.run(
            Index.ACCOUNT, account_pk(account_id), lower=walk.sort + " " if walk.sort else prefix,
            upper=prefix[:-1] + "$", limit=1, after=None,
        )
        if not page.items:
            walk.kind, walk.sort = walk.kind + 1, ""
            return []
        item = page.items[0]
        walk.sort = item.indexes[Index.ACCOUNT][1]
        if prefix == "GRANT#":
            return [item]
        walk.root, walk.after = item.key.pk, None
        return []

    async def _note_exported(self, account_id: str) -> None:
        pk = account_pk(account_id)

        async def attempt() -> None:
            head = await self._records.head(pk)
            base = await self._directory.account(account_id)
            if base is None:
                return
            account = base.edit()
            account.exported_at.CopyFrom(timestamp(self._kernel.now()))
            activity = Activity(
                "account.exported", f"accounts/{account_id}", account_id=account_id
            )
            await self._records.commit(
                pk, [Write(ACCOUNT, account, base)], activity=activity, if_head=head
            )

        await deciding(attempt)


class _Walk:
    """A place in an account's export: the partition that is read (`root`) up to
    `after`, and the index entry (`kind`, `sort`) that led to it."""

    def __init__(self, root: str, after: str | None, kind: int, sort: str) -> None:
        self.root, self.after, self.kind, self.sort = root, after, kind, sort

    @classmethod
    def load(cls, position: str, first: str) -> _Walk:
        return cls(*json.loads(position)) if position else cls(first, None, 0, "")

    def dump(self) -> str:
        return json.dumps([self.root, self.after, self.kind, self.sort])


def _about(item: Item, user: str, email: str) -> UserDataRecord | None:
    """The row as an export shows it; None if it is not about the user."""
    family = FAMILIES.get(item.family)
    if family is None or item.deleted or not item.body:
        return None
    if user not in item.body and (not email or email not in item.body.lower()):
        return None
    members = json.loads(item.body)
    if not _is_about(item.family, members, user, email):
        return None
    if item.family == "activity_event":
        members.pop(_EVENT_VALUES, None)
    return UserDataRecord(
        family=item.family, resource=_resource(item, members), data=_struct(members)
    )


def _is_about(family: str, members: dict[str, Any], user: str, email: str) -> bool:
    if family == "activity_event":
        return members.get("actor_user_id") == user
    if family == "project_grant":
        return members.get("target_id") == user
    if family == "account":
        return members.get("type") == PERSONAL and members.get("owner_user_id") == user
    if family == "notification_routing":
        return user in members.get("user_ids", ())
    if family == "invitation":
        to = canonical_email(members.get("email", ""))
        return bool(email and to == email) or user in (
            members.get("created_by"), members.get("resolved_by")
        )
    if family in _BY:
        return bool(members.get(_BY[family]) == user)
    return any(members.get(name) == user for name in _ABOUT)


def _resource(item: Item, members: dict[str, Any]) -> str:
    """An event names its resource; every other row is named by its key."""
    named = members.get("resource", "") if item.family == "activity_event" else ""
    return str(named or f"{item.key.pk}/{item.key.sk}")[:1024]


def _account_records(items: Iterable[Item]) -> list[AccountDataRecord]:
    return [
        AccountDataRecord(
            family=item.family,
            key=f"{item.key.pk} {item.key.sk}",
            data=_struct(json.loads(item.body)),
        )
        for item in items
        if item.family in FAMILIES and item.body and not item.deleted
    ]


def _struct(members: dict[str, Any]) -> Struct:
    shown = {n: v for n, v in _open(members).items() if n not in SEAL}
    if _EVENT_VALUES in shown:
        shown[_EVENT_VALUES] = [_open_change(change) for change in shown[_EVENT_VALUES]]
    return ParseDict(shown, Struct())


def _open_change(change: dict[str, Any]) -> dict[str, Any]:
    """A RecordChange whose records are filtered like those that stand for themselves."""
    return {n: _open(v) if isinstance(v, dict) else v for n, v in change.items()}


def _open(record: dict[str, Any]) -> dict[str, Any]:
    """Fields of a record that are no secrets. What is inside of a field is the
    customer's (a geohash in a document), and no record has a secret there."""
    return {n: v for n, v in record.items() if not _SECRET.search(n)}
