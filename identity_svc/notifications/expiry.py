"""Letters before a grant ends: 7 days and 1 day before.

Scheduled from the event that set the end; sent only if the grant is in force then
with the same end (facts.py), so a change of the end simply schedules others.
"""

from __future__ import annotations

from typing import Final

from workspace.common.v1.activity_pb2 import ActivityEvent

from identity_svc.notifications.grant_changes import GrantChange, grant_changes
from identity_svc.notifications.recipients import Recipients
from identity_svc.notifications.sending import Sending
from services.kernel import Kernel

__all__ = ["GRANT_EXPIRY", "Expiry"]

GRANT_EXPIRY: Final = "mail.grant_expiry"
_DAY: Final = 24 * 3600
_BEFORE: Final = (7, 1)


class Expiry:
    """See the module."""

    def __init__(self, kernel: Kernel, recipients: Recipients, sending: Sending) -> None:
        self._kernel = kernel
        self._recipients = recipients
        self._sending = sending

    async def plan(self, event: ActivityEvent) -> None:
        """Schedule the letters of the grants that the event gave an end. Idempotent."""
        now = self._kernel.now()
        for change in grant_changes(event):
            if change.ends and change.was in ("given", "changed"):
                for days in _BEFORE:
                    at = change.ends - days * _DAY
                    if at > now:
                        await self._kernel.due.schedule(GRANT_EXPIRY, _subject(change, days), at)

    async def run(self, subject: str) -> float | None:
        """Due work: the letters of one grant."""
        project_id, grant_id, kind, target_id, ends, days = subject.split("|")
        left = int(ends) - self._kernel.now()
        if left <= 0 or (int(days) > 1 and left <= _DAY):
            return None  # too late, or the last letter is due as well
        change = GrantChange(project_id, grant_id, kind, target_id, ends=int(ends))
        await self._sending.post(subject, await self._recipients.of_expiry(change))
        return None


def _subject(change: GrantChange, days: int) -> str:
    parts = (change.project_id, change.grant_id, change.target_type, change.target_id)
    return "|".join([*parts, str(change.ends), str(days)])
