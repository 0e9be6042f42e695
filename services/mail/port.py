"""What a mail driver has to do."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

__all__ = ["Mail", "MailDriver", "MailRefused", "MailUnavailable"]


@dataclass(frozen=True, slots=True)
class Mail:
    """One message to one person.

    `mail_id` (letters, digits, `_.-`) names it: sending it again is harmless
    where the driver can tell, and the receiver sees the same Message-ID. `text`
    is plain text; `to` one address; `subject` one line.
    """

    mail_id: str
    to: str
    subject: str
    text: str


class MailUnavailable(Exception):
    """The mail system does not take messages now: send it again later."""


class MailRefused(Exception):
    """This message will never be taken, for example an address that is none."""


class MailDriver(Protocol):
    """Two calls. A message that `send` returned for was handed over durably."""

    @property
    def name(self) -> str:
        """Short name for logs, for example `smtp`."""
        ...

    async def send(self, mail: Mail) -> None:
        """Hand one message over, at least once. Raises MailUnavailable, MailRefused."""
        ...

    async def close(self) -> None: ...
