"""A mail as a MIME message (RFC 5322), safe against what people put into names."""

from __future__ import annotations

import re
from datetime import datetime
from email.headerregistry import Address
from email.message import EmailMessage
from email.policy import SMTP
from email.utils import format_datetime

from services.mail.port import Mail, MailRefused

__all__ = ["mime_message", "one_line"]

_BREAKS = re.compile(r"[\x00-\x1f\x7f\u0085\u2028\u2029]+")
_MAIL_ID = re.compile(r"[A-Za-z0-9_.-]{1,128}")
_SUBJECT_CHARS = 200


def one_line(text: str) -> str:
    """Text for a header: without control characters and line breaks, at most
    200 characters. A name with a line break must not become a header."""
    return _BREAKS.sub(" ", text).strip()[:_SUBJECT_CHARS]


def mime_message(mail: Mail, *, sender: str, at: datetime) -> EmailMessage:
    """The message to hand over. Raises MailRefused for an address, subject or id
    that cannot be a header."""
    if not _MAIL_ID.fullmatch(mail.mail_id):
        raise MailRefused("the id of the mail is not usable as a Message-ID")
    if one_line(mail.subject) != mail.subject:
        raise MailRefused("the subject must be one line of at most 200 characters")
    message = EmailMessage(policy=SMTP)
    try:
        message["From"] = Address(addr_spec=sender)
        message["To"] = Address(addr_spec=mail.to)
    except (ValueError, IndexError) as error:
        raise MailRefused("an address is not usable") from error
    message["Subject"] = mail.subject
    message["Date"] = format_datetime(at)
    message["Message-ID"] = f"<{mail.mail_id}@{sender.rpartition('@')[2]}>"
    message["Auto-Submitted"] = "auto-generated"  # RFC 3834: no vacation answers
    message.set_content(mail.text)
    return message
