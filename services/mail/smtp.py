"""Mail through an SMTP server (RFC 5321), over TLS but on this machine."""

from __future__ import annotations

import ssl
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Literal

import aiosmtplib

from services.mail.mime import mime_message
from services.mail.port import Mail, MailRefused, MailUnavailable

__all__ = ["SmtpMail", "SmtpServer"]

_SECONDS = 30.0
_PERMANENT = 500
_ABOUT_US = frozenset({500, 502, 503, 504, 521, 523, 530, 534, 535, 538})
"""Replies that say nothing of the message: our commands, our sign-in."""


@dataclass(frozen=True, slots=True)
class SmtpServer:
    """Where, and as whom. `security`: `tls` from the first byte (port 465),
    `starttls` (port 587), `none` only on loopback. `password` is a secret."""

    host: str
    port: int
    security: Literal["tls", "starttls", "none"]
    username: str = ""
    password: str = ""
    tls: ssl.SSLContext | None = None


class SmtpMail:
    """One connection per message: mails are few, and servers drop idle clients.
    `seconds` is the longest wait for each answer of the server."""

    name = "smtp"

    def __init__(
        self,
        server: SmtpServer,
        *,
        sender: str,
        now: Callable[[], float],
        seconds: float = _SECONDS,
    ) -> None:
        self._seconds = seconds
        self._server = server
        self._sender = sender
        self._now = now

    async def send(self, mail: Mail) -> None:
        message = mime_message(
            mail, sender=self._sender, at=datetime.fromtimestamp(self._now(), UTC)
        )
        server = self._server
        try:
            await aiosmtplib.send(
                message,
                hostname=server.host,
                port=server.port,
                username=server.username or None,
                password=server.password or None,
                use_tls=server.security == "tls",
                start_tls=server.security == "starttls",
                tls_context=server.tls,
                timeout=self._seconds,
            )
        except aiosmtplib.SMTPRecipientsRefused as error:
            raise _failure(error.recipients[0].code) from None
        except aiosmtplib.SMTPResponseException as error:
            raise _failure(error.code) from None
        except (aiosmtplib.SMTPException, OSError, ssl.SSLError) as error:
            kind = type(error).__name__
            raise MailUnavailable(f"the mail server does not answer ({kind})") from None

    async def close(self) -> None:
        return


def _failure(code: int) -> MailRefused | MailUnavailable:
    """By the reply code alone: the text may hold the address (RFC 5321, 4.2.1)."""
    if code >= _PERMANENT and code not in _ABOUT_US:
        return MailRefused(f"the mail server refused the message ({code})")
    return MailUnavailable(f"the mail server does not take messages now ({code})")
