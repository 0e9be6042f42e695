"""The consumer of events: what is news becomes due work, and that letters.

Events that waited for three days are passed over: mail that was switched off for a
month does not begin with a month of old news.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from workspace.common.v1.activity_pb2 import ActivityEvent

from identity_svc.notifications.expiry import Expiry
from identity_svc.notifications.recipients import NEWS, Recipients
from identity_svc.notifications.sending import Sending
from services.events.outbox import OutboxEvent
from services.kernel import Kernel
from services.model.clocks import hlc_millis
from services.records.codec import decode
from services.records.port import Key

__all__ = ["MAIL_EVENT", "News"]

MAIL_EVENT: Final = "mail.event"
"""Kind of the due work; its subject is the key of the event's row."""
_OLD_SECONDS: Final = 3 * 24 * 3600


class News:
    """A consumer of the relay (`deliver`) and a handler of due work (`prepare`)."""

    name = "mail"

    def __init__(
        self, kernel: Kernel, recipients: Recipients, expiry: Expiry, sending: Sending
    ) -> None:
        self._kernel = kernel
        self._recipients = recipients
        self._expiry = expiry
        self._sending = sending

    async def deliver(self, events: Sequence[OutboxEvent]) -> None:
        """Keep which events are news. A repeat is harmless: so is that of `prepare`."""
        now = self._kernel.now()
        for each in events:
            old = hlc_millis(each.hlc) / 1000 < now - _OLD_SECONDS
            if not old and not each.is_erased and each.event.type in NEWS:
                subject = f"{each.pk}|{each.item.key.sk}"
                await self._kernel.due.schedule(MAIL_EVENT, subject, now)

    async def prepare(self, subject: str) -> float | None:
        """Queue a letter to each whom the event concerns, now and later."""
        pk, sk = subject.split("|", 1)
        item = await self._kernel.records.get_row(Key(pk, sk))
        if item is not None and not item.deleted:
            event = decode(ActivityEvent, item.body)
            await self._expiry.plan(event)
            await self._sending.post(event.event_id, await self._recipients.of(event))
        return None
