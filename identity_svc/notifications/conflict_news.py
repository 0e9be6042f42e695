"""Mail about conflicts that sync found: once each, to the owners of the project and
to whom its account routes the topic.

A conflict has no event: its row (`services/records/conflict_rows.py`) opens with the
commit that joined the versions. The row is the same on every later run, and the mail
has the same id on every node. Conflicts that were found three days ago are no news.
"""

from __future__ import annotations

from typing import Final

from identity_svc.notifications.letters import MANAGER, ROUTED, Letter
from identity_svc.notifications.open_conflicts import open_conflict
from identity_svc.notifications.places import Places
from identity_svc.notifications.sending import Sending
from services.kernel import Kernel

__all__ = ["MAIL_CONFLICT", "TOPIC", "ConflictNews"]

MAIL_CONFLICT: Final = "mail.conflict"
"""Kind of the due work; its subject is the id of the conflict."""
TOPIC: Final = "sync.conflict"
_OLD_SECONDS: Final = 3 * 24 * 3600


class ConflictNews:
    """A handler of due work (`prepare`)."""

    def __init__(self, kernel: Kernel, places: Places, sending: Sending) -> None:
        self._kernel = kernel
        self._records = kernel.records
        self._places = places
        self._sending = sending

    async def prepare(self, conflict_id: str) -> None:
        """Queue the letters about a conflict that is open and new; idempotent."""
        row = await open_conflict(self._records, conflict_id)
        if row is None or row["created_ms"] / 1000 < self._kernel.now() - _OLD_SECONDS:
            return
        about = {
            "conflict_id": conflict_id, "kind": row["kind"], "family": row["family"],
            "project_id": row["project_id"], "account_id": row["account_id"],
            "document_id": row["document_id"],
        }  # fmt: skip
        letters = [
            Letter(user, "sync_conflict", TOPIC, MANAGER, about)
            for user in await self._owners(row["project_id"])
        ]
        told = {letter.recipient for letter in letters}
        account_id = row["account_id"] or await self._account_of(row["project_id"])
        letters += [
            Letter(user, "sync_conflict", TOPIC, ROUTED, about | {"account_id": account_id})
            for user in await self._places.routed(account_id, TOPIC)
            if user not in told
        ]
        await self._sending.post(f"conflict {conflict_id}", letters)

    async def _owners(self, project_id: str) -> list[str]:
        return await self._places.project_owners(project_id) if project_id else []

    async def _account_of(self, project_id: str) -> str:
        return await self._places.account_of(project_id) if project_id else ""
