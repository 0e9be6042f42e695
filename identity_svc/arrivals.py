"""What follows when accounts came by sync, and when conflicts were found.

An account that another node deleted is purged here, too, should nobody have done it a
week after its time: that node comes first, for two purges would remove each member
twice. Of a person whom another node erased nothing stays here either
(users/erasure.py). Of a conflict that opened people are told (notifications/conflict_news.py).
What decides memberships and finds people by address are the records themselves and
their index entries, which come with them.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Final

from identity_svc.accounts.deletion import ACCOUNT_PURGE
from identity_svc.directory import ACCOUNT, USER, Directory
from identity_svc.notifications.conflict_news import MAIL_CONFLICT
from services.events.due import DueHandler
from services.events.following import Follower, came_from_elsewhere
from services.kernel import Kernel
from services.model.times import from_timestamp
from services.records.conflict_rows import CONFLICT
from services.records.port import Item

__all__ = ["ACCOUNT_ARRIVED", "USER_ARRIVED", "Arrivals"]

ACCOUNT_ARRIVED: Final = "account.arrived"
"""Kind of due work; the subject is the id."""
USER_ARRIVED: Final = "user.arrived"
_LATE_SECONDS: Final = 7 * 24 * 3600


class Arrivals:
    """See the module. `told` handles MAIL_CONFLICT, `erased` USER_ARRIVED.
    `follower` runs in the background, `due` is its due work."""

    def __init__(
        self, kernel: Kernel, directory: Directory, *, told: DueHandler, erased: DueHandler
    ) -> None:
        self._kernel = kernel
        self._directory = directory
        self.due: Mapping[str, DueHandler] = {
            ACCOUNT_ARRIVED: self.account, MAIL_CONFLICT: told, USER_ARRIVED: erased,
        }
        self.follower = Follower(
            kernel, name="identity_svc", subjects=self._subjects, handlers=self.due
        )

    async def account(self, account_id: str) -> None:
        """Look at an account; idempotent."""
        record = await self._directory.account(account_id)
        if record is None:
            return
        account = record.message
        if account.HasField("purge_at") and not account.HasField("purged_at"):
            at = from_timestamp(account.purge_at).timestamp() + _LATE_SECONDS
            await self._kernel.due.schedule(ACCOUNT_PURGE, account_id, at)

    def _subjects(self, items: Sequence[Item]) -> Iterable[tuple[str, str]]:
        actor = self._kernel.records.actor
        for item in items:
            if item.family == ACCOUNT.name and came_from_elsewhere(item, actor):
                yield ACCOUNT_ARRIVED, item.key.pk.removeprefix("ACCOUNT#")
            elif item.family == USER.name and came_from_elsewhere(item, actor):
                if _is_erased(item):
                    yield USER_ARRIVED, item.key.pk.removeprefix("USER#")
            elif item.family == CONFLICT and not item.deleted:
                row = json.loads(item.body)
                if row["status"] == "open":
                    yield MAIL_CONFLICT, row["conflict_id"]


def _is_erased(item: Item) -> bool:
    if item.deleted:
        return False
    status: object = json.loads(item.body).get("status")
    return status == "USER_STATUS_ERASED"
