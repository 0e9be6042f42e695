"""The post office of a workspace, driven by hand: events in, mails in a folder.

Everything is real but the clock of the mail and, where a test says so, the driver.
"""

from __future__ import annotations

import email
import email.policy
import time
from contextlib import aclosing
from dataclasses import replace
from email.message import EmailMessage
from pathlib import Path

from identity_svc.directory import Directory
from identity_svc.notifications.parts import notification_parts
from services.events.due import DueWork
from services.events.outbox import OutboxEvent, Position, follow_events
from services.mail.folder import FolderMail
from services.mail.port import Mail, MailDriver, MailRefused, MailUnavailable
from services.rate_limits import RateLimiter
from services.tokens.local import LocalIssuer
from tests.harness import Workspace
from tests.integration.identity.inviting import Scene
from tests.integration.identity.people import ANN, VIEWER

URL = "https://ws.example"


class Post(Scene):
    """ann owns the account, bob is an editor in it; cat and dan are outside."""

    def __init__(self, ws: Workspace, folder: Path) -> None:
        super().__init__(ws)
        self.offset = 0.0
        self.folder = folder
        self.driver: MailDriver = FolderMail(folder, sender="ws@example.org", now=self.now)
        self.position = Position("")
        self.begin_again()

    def now(self) -> float:
        return time.time() + self.offset

    def begin_again(self) -> None:
        """A process that remembers nothing."""
        kernel = self.ws.process.kernel
        issuer = LocalIssuer.open(kernel.keys_dir, realm=kernel.instance_id)
        directory = Directory(
            kernel.records, local_issuer=issuer.issuer,
            lookups=RateLimiter("lookups", maximum=20, period=60, now=time.monotonic),
        )
        self.due = DueWork(kernel.records, now=self.now)
        mine = replace(
            kernel, mail=self.driver, now=self.now, due=self.due, public_url=URL + "/"
        )
        self.parts = notification_parts(mine, self.ws.process.channel, directory)

    def drive(self, driver: MailDriver) -> None:
        self.driver = driver
        self.begin_again()

    async def enter(self) -> None:
        await super().enter()
        await self.skip()

    async def member_of_account(self, email: str, role: int = VIEWER) -> None:
        await self.add_member(ANN, self.account_id, email, role)

    async def skip(self) -> None:
        """What happened until now is no news."""
        self.position = Position(await self.ws.process.kernel.feed.tail())

    async def events(self) -> list[OutboxEvent]:
        async with aclosing(follow_events(self.ws.process.kernel.feed, self.position)) as found:
            batch = await anext(found)
        self.position = batch.position
        return [event for event, _ in batch.events]

    async def relay(self) -> list[OutboxEvent]:
        """Hand over what happened since the last time."""
        events = await self.events()
        await self.parts.consumers[0].deliver(events)
        return events

    async def work(self) -> None:
        """Everything that is due, and what that makes due."""
        while await self.due.run(self.parts.due):
            pass

    async def later(self, seconds: float) -> list[EmailMessage]:
        """The mails of this time."""
        before = {each["Message-ID"] for each in self.all()}
        self.offset += seconds
        await self.work()
        return [each for each in self.all() if each["Message-ID"] not in before]

    async def deliver(self) -> list[EmailMessage]:
        """The mails about what happened since the last time, by addressee."""
        await self.relay()
        return await self.later(0.1)

    def all(self) -> list[EmailMessage]:
        if not self.folder.exists():
            return []
        read = [
            email.message_from_bytes(path.read_bytes(), policy=email.policy.default)
            for path in self.folder.glob("*.eml")
        ]
        assert all(isinstance(each, EmailMessage) for each in read)
        return sorted(read, key=lambda each: (str(each["To"]), str(each["Subject"])))


class Flaky:
    """A driver that does what a test says; it keeps what it was given."""

    name = "flaky"

    def __init__(self, inner: MailDriver) -> None:
        self.inner = inner
        self.error: Exception | None = None
        self.given: list[Mail] = []

    async def send(self, mail: Mail) -> None:
        self.given.append(mail)
        if self.error is not None:
            raise self.error
        await self.inner.send(mail)

    async def close(self) -> None:
        await self.inner.close()


DOWN = MailUnavailable("the mail server does not answer (ConnectionRefusedError)")
REFUSED = MailRefused("the mail server refused the message (550)")


def to(mails: list[EmailMessage]) -> list[str]:
    return [str(each["To"]) for each in mails]


def text(mail: EmailMessage) -> str:
    return str(mail.get_content())


def only(mails: list[EmailMessage], address: str) -> EmailMessage:
    found = [each for each in mails if each["To"] == address]
    assert len(found) == 1, [(each["To"], each["Subject"]) for each in mails]
    return found[0]

