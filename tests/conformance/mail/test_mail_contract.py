"""What every mail driver does; more of SMTP alone at the end."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from services.mail.folder import FolderMail
from services.mail.mime import one_line
from services.mail.port import Mail, MailRefused, MailUnavailable
from services.mail.smtp import SmtpMail, SmtpServer
from tests.conformance.mail.conftest import NOW, SENDER, Inbox, Postmaster

MAIL = Mail("m_1", "ann@example.com", "Grüße: Plan 木", "Hello Ann,\n\nä 木\n.\nFrom here on\n")


async def test_a_mail_arrives_as_it_is(inbox: Inbox) -> None:
    await inbox.driver.send(MAIL)
    (message,) = inbox.received()
    assert message["To"] == MAIL.to
    assert message["From"] == inbox.sender
    assert message["Subject"] == MAIL.subject
    assert message["Message-ID"] == f"<m_1@{inbox.sender.partition('@')[2]}>"
    assert message["Auto-Submitted"] == "auto-generated"
    assert (message["Date"].datetime.timestamp() == NOW) is inbox.dates
    assert message.get_content().replace("\r\n", "\n") == MAIL.text


@pytest.mark.parametrize(
    "wrong",
    [
        {"subject": "Plan\r\nBcc: eve@example.com"},
        {"subject": "Plan\nBcc: eve@example.com"},
        {"subject": "x" * 201},
        {"to": "ann@example.com\r\nBcc: eve@example.com"},
        {"to": "ann@example.com, eve@example.com"},
        {"to": "nobody"},
        {"to": ""},
        {"mail_id": "../../etc/passwd"},
        {"mail_id": "a\r\nb"},
        {"mail_id": ""},
    ],
    ids=str,
)
async def test_what_would_become_another_mail_is_refused(
    inbox: Inbox, wrong: dict[str, str]
) -> None:
    with pytest.raises(MailRefused):
        await inbox.driver.send(replace(MAIL, **wrong))
    assert inbox.received() == []


async def test_headers_in_the_text_stay_text(inbox: Inbox) -> None:
    await inbox.driver.send(replace(MAIL, text="Bcc: eve@example.com\n\n<b>x</b>\n"))
    (message,) = inbox.received()
    assert message["Bcc"] is None
    assert message.get_content_type() == "text/plain"


@pytest.mark.parametrize(
    ("name", "line"),
    [("a\r\nb", "a b"), ("\u2028x\x00y", "x y"), ("  ok  ", "ok"), ("é" * 300, "é" * 200)],
)
def test_names_become_one_line(name: str, line: str) -> None:
    assert one_line(name) == line


async def test_the_folder_keeps_a_mail_once_and_private(tmp_path: Path) -> None:
    folder = tmp_path / "mail"
    driver = FolderMail(folder, sender=SENDER, now=lambda: NOW)
    await driver.send(MAIL)
    await driver.send(replace(MAIL, subject="again"))
    (path,) = folder.iterdir()
    assert path.stat().st_mode & 0o777 == 0o600
    assert b"again" not in path.read_bytes()


async def test_a_folder_that_cannot_be_written_is_tried_later(tmp_path: Path) -> None:
    (tmp_path / "mail").write_text("a file")
    with pytest.raises(MailUnavailable):
        await FolderMail(tmp_path / "mail", sender=SENDER, now=lambda: NOW).send(MAIL)


def smtp(server: SmtpServer, **changed: object) -> SmtpMail:
    changes: Any = changed
    return SmtpMail(replace(server, **changes), sender=SENDER, now=lambda: NOW, seconds=1)


@pytest.mark.parametrize("reply", ["550 no such user", "553 bad address", "552 too big"])
async def test_a_permanent_reply_is_a_refusal(
    smtp_server: SmtpServer, postmaster: Postmaster, reply: str
) -> None:
    for place in ("reply", "reply_to_recipient"):
        setattr(postmaster, place, reply)
        with pytest.raises(MailRefused) as caught:
            await smtp(smtp_server).send(MAIL)
        assert "ann@" not in str(caught.value)
        setattr(postmaster, place, "")


@pytest.mark.parametrize("reply", ["450 busy", "451 later", "452 full", "421 going down"])
async def test_a_passing_reply_is_tried_later(
    smtp_server: SmtpServer, postmaster: Postmaster, reply: str
) -> None:
    postmaster.reply_to_recipient = reply
    with pytest.raises(MailUnavailable):
        await smtp(smtp_server).send(MAIL)


async def test_what_is_ours_to_mend_never_loses_the_mail(smtp_server: SmtpServer) -> None:
    with pytest.raises(MailUnavailable):
        await smtp(smtp_server, password="wrong").send(MAIL)
    with pytest.raises(MailUnavailable):
        await smtp(smtp_server, port=1).send(MAIL)
    with pytest.raises(MailUnavailable):  # an authority nobody knows
        await smtp(smtp_server, tls=None).send(MAIL)


async def test_nothing_is_sent_without_tls(
    smtp_server: SmtpServer, postmaster: Postmaster
) -> None:
    with pytest.raises((MailUnavailable, MailRefused)):
        await smtp(smtp_server, security="none", username="", password="").send(MAIL)
    assert postmaster.messages == []
