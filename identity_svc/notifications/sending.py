"""Letters on their way: handed over at least once, and not in floods.

Each letter becomes a row (`MAIL#{recipient}`, `NOTICE#{mail_id}`) with due work
(`mail.letter`), and is tried at once. `attempt` reads what it says now, or that it
says nothing any more, and sends it. The id of a mail derives from the event, the
recipient and the matter, so a repeat finds the row, and a mail that is sent twice
(a crash between sending and noting it) has the same Message-ID.

A mail system that does not answer is asked again after 30 s to 15 min, by one
letter for all; what waited for three days is given up. A letter that is refused or
given up is an activity event (`notification.refused`, `notification.given_up`) of
its recipient or invitation, without the address.
"""

from __future__ import annotations

import asyncio
import json
import logging
import random
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any, Final

from identity_svc.directory import user_pk
from identity_svc.invitations.rules import invitation_pk
from identity_svc.notifications.letters import OF_ADDRESS, Letter
from identity_svc.notifications.mailbox import Mailbox
from identity_svc.notifications.quota import Held, Quota
from identity_svc.notifications.wording import SUMMARY, words_of
from services.events.job_rows import finish_job, rewrite_job
from services.kernel import Kernel
from services.mail.port import Mail, MailDriver, MailRefused, MailUnavailable
from services.records.port import ABSENT, ConditionFailed, Item, Key, Put
from services.records.record import Activity

__all__ = ["MAIL_LETTER", "Sending"]

MAIL_LETTER: Final = "mail.letter"
"""Kind of the due work."""
_OLD_SECONDS: Final = 3 * 24 * 3600
_KEPT_SECONDS: Final = 8 * 24 * 3600
_SAFETY_SECONDS: Final = 120.0
_SEND_SECONDS: Final = 90.0
_FIRST_PAUSE: Final = 30.0
_LONGEST_PAUSE: Final = 900.0
_AT_ONCE: Final = 4
_MOST_WAITING: Final = 16
_ROW: Final = "mail"
_log = logging.getLogger("workspace.mail")


class Sending:
    """Handlers of due work (`attempt`, `summary`), and `post`. See the module."""

    def __init__(
        self,
        kernel: Kernel,
        driver: MailDriver,
        *,
        mailbox: Mailbox,
        quota: Quota,
    ) -> None:
        self._kernel = kernel
        self._records = kernel.records
        self._driver = driver
        self._mailbox = mailbox
        self._quota = quota
        self._gate = asyncio.Semaphore(_AT_ONCE)
        self._waiting = 0
        self._down_until = 0.0
        self._failures = 0

    async def post(self, source_id: str, letters: Sequence[Letter]) -> None:
        """Queue letters about one matter, durably, then try them. A letter that was
        queued before is left to its due work."""
        queued = [subject for each in letters if (subject := await self._queue(source_id, each))]
        for subject in queued:
            try:
                await self.attempt(subject)
            except Exception as error:  # the due work that was scheduled before tries it again
                _log.warning("a mail waits: %s", type(error).__name__)

    async def attempt(self, subject: str) -> float | None:
        """One try of a letter; when to try again (unix seconds), or None."""
        recipient, mail_id = subject.split("|")
        item = await self._records.get_row(_key(recipient, mail_id))
        if item is None or item.deleted:
            return None
        row, now = json.loads(item.body), self._kernel.now()
        later = max(float(row["not_before"]), self._down_until)
        if now - row["since"] > _OLD_SECONDS:
            await self._end(item, row, "given_up")
            return None
        if later > now:
            return later + _spread()
        if self._waiting >= _MOST_WAITING:
            return now + 5.0
        # Claimed: whoever else finds it waits until this try must be over.
        waits = row | {"not_before": now + _SAFETY_SECONDS}
        claimed = await rewrite_job(self._records, item, waits)
        return now + _SAFETY_SECONDS if claimed is None else await self._try(claimed, row)

    async def summary(self, recipient: str) -> float | None:
        """Send what stands for the mails that were held back."""
        held = await self._quota.held(recipient)
        if held is None:
            return None
        if self._down_until > self._kernel.now():
            return self._down_until + _spread()
        to, invitation_id = await self._address(recipient, held)
        if to:
            topics = sorted(Counter(held.topics.values()).items())
            lines = [f"- {topic}: {count}" for topic, count in topics]
            facts = {"count": str(len(held.topics)), "list": "\n".join(lines)}
            try:
                await self._hand_over(held.mail_id, to, SUMMARY, "", facts)
            except MailUnavailable:
                return self._down_until + _spread()
            except MailRefused:
                await self._note(recipient, invitation_id, held.mail_id, "refused")
        more = await self._quota.told(recipient, held)
        return self._kernel.now() + 3600 if more else None

    async def _address(self, recipient: str, held: Held) -> tuple[str, str]:
        """Of a summary, and the invitation that names it, if one does."""
        for invitation_id in held.invitation_ids:
            if to := await self._mailbox.address_of(recipient, invitation_id):
                return to, invitation_id
        if recipient.startswith(OF_ADDRESS):
            return "", ""
        return await self._mailbox.address_of(recipient), ""

    async def _queue(self, source_id: str, letter: Letter) -> str:
        """The subject of its due work; empty when it was queued before."""
        mail_id, now = letter.mail_id(source_id), self._kernel.now()
        key, subject = _key(letter.recipient, mail_id), f"{letter.recipient}|{mail_id}"
        if await self._records.get_row(key) is not None:
            return ""
        await self._kernel.due.schedule(MAIL_LETTER, subject, now + _SAFETY_SECONDS)
        body = json.dumps(letter.dump() | {"since": now, "not_before": 0.0})
        put = Put(key, ABSENT, _ROW, body, expires_at=int(now) + _KEPT_SECONDS)
        try:
            await self._records.put_row(put)
        except ConditionFailed:
            return ""  # by another process
        return subject

    async def _try(self, item: Item, row: Mapping[str, Any]) -> float | None:
        letter, mail_id = Letter.load(row), item.key.sk.removeprefix("NOTICE#")
        said = await self._mailbox.open(letter)
        if said is None:
            await self._finish(item)
            return None
        is_user = not letter.recipient.startswith(OF_ADDRESS)
        invitation_id = "" if is_user else letter.about["invitation_id"]
        if not await self._quota.take(
            letter.recipient, mail_id, letter.topic, invitation_id=invitation_id
        ):
            await self._finish(item)
            return None
        topic = letter.topic if is_user else ""
        try:
            await self._hand_over(mail_id, said.to, letter.kind, topic, said.facts)
        except MailUnavailable:
            await rewrite_job(self._records, item, dict(row))
            return max(self._down_until, self._kernel.now()) + _spread()
        except MailRefused:
            await self._end(item, row, "refused")
            return None
        await self._finish(item)
        return None

    async def _hand_over(
        self, mail_id: str, to: str, kind: str, topic: str, facts: Mapping[str, str]
    ) -> None:
        """Raises MailUnavailable, also while the mail system is known to be down."""
        subject, text = words_of(kind, topic, facts, public_url=self._kernel.public_url)
        mail = Mail(mail_id=mail_id, to=to, subject=subject, text=text)
        self._waiting += 1
        try:
            async with self._gate:
                if self._down_until > self._kernel.now():
                    raise MailUnavailable("the mail system did not answer a moment ago")
                await self._send(mail)
        finally:
            self._waiting -= 1

    async def _send(self, mail: Mail) -> None:
        try:
            async with asyncio.timeout(_SEND_SECONDS):
                await self._driver.send(mail)
        except (MailUnavailable, TimeoutError) as error:
            self._failures += 1
            pause = min(_FIRST_PAUSE * 2 ** min(self._failures - 1, 10), _LONGEST_PAUSE)
            self._down_until = self._kernel.now() + pause
            _log.warning("mail waits for %d s: %s", pause, error or type(error).__name__)
            raise MailUnavailable("the mail system does not answer") from None
        self._failures, self._down_until = 0, 0.0

    async def _end(self, item: Item, row: Mapping[str, Any], what: str) -> None:
        letter, mail_id = Letter.load(row), item.key.sk.removeprefix("NOTICE#")
        invitation_id = letter.about.get("invitation_id", "")
        await self._note(letter.recipient, invitation_id, mail_id, what)
        await self._finish(item)

    async def _note(self, recipient: str, invitation_id: str, mail_id: str, what: str) -> None:
        """For those who wonder why nothing came; the address is in no event."""
        _log.warning("mail %s was %s", mail_id, what.replace("_", " "))
        pk, resource = user_pk(recipient), f"users/{recipient}/notifications/{mail_id}"
        if recipient.startswith(OF_ADDRESS):
            pk, resource = invitation_pk(invitation_id), f"invitations/{invitation_id}"
        activity = Activity(f"notification.{what}", resource)
        await self._records.commit(pk, [], activity=activity)

    async def _finish(self, item: Item) -> None:
        """No more tries."""
        await finish_job(self._records, item, kept_until=self._kernel.now() + _KEPT_SECONDS)


def _key(recipient: str, mail_id: str) -> Key:
    return Key(f"MAIL#{recipient}", f"NOTICE#{mail_id}")


def _spread() -> float:
    return random.uniform(0.0, 5.0)  # noqa: S311 - spreads the tries
