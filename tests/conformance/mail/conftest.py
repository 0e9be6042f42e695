"""Every mail driver with a way to see what arrived."""

from __future__ import annotations

import asyncio
import email
import email.policy
import secrets
import ssl
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from email.message import EmailMessage
from pathlib import Path
from typing import Any

import pytest
from aiosmtpd.smtp import SMTP, AuthResult, LoginPassword
from cryptography import x509

from services.azure.clients import AzureClients
from services.mail.communication import CommunicationMail
from services.mail.folder import FolderMail
from services.mail.port import MailDriver
from services.mail.ses import SesMail, SesSender
from services.mail.smtp import SmtpMail, SmtpServer
from tests.authority import Authority
from tests.fakes.communication import Resource
from tests.servers import azure
from tests.ses_mailbox import Ses

SENDER = "workspace@example.com"
NOW = 1_790_000_000.0


@dataclass
class Inbox:
    """A driver, and what was delivered through it."""

    driver: MailDriver
    received: Callable[[], list[EmailMessage]]
    sender: str = SENDER
    dates: bool = True
    """Whether the date is the driver's: services have one of their own."""


@dataclass
class Postmaster:
    """What the test's server does with messages; `reply` refuses them."""

    messages: list[bytes] = field(default_factory=list)
    reply: str = ""
    reply_to_recipient: str = ""

    async def handle_RCPT(  # noqa: N802 - the library's name
        self, _server: Any, _session: Any, envelope: Any, address: str, _options: Any
    ) -> str:
        if self.reply_to_recipient:
            return self.reply_to_recipient
        envelope.rcpt_tos.append(address)
        return "250 OK"

    async def handle_DATA(self, _server: Any, _session: Any, envelope: Any) -> str:  # noqa: N802
        if self.reply:
            return self.reply
        self.messages.append(envelope.content)
        return "250 OK"


def _authenticate(_server: Any, _session: Any, _envelope: Any, _mechanism: str, auth: Any) -> Any:
    good = isinstance(auth, LoginPassword) and auth == LoginPassword(b"mailer", b"s3cret")
    return AuthResult(success=good)


@pytest.fixture
def postmaster() -> Postmaster:
    return Postmaster()


@pytest.fixture
async def smtp_server(tmp_path: Path, postmaster: Postmaster) -> AsyncIterator[SmtpServer]:
    authority = Authority(tmp_path, "mail-ca")
    cert, key = tmp_path / "mail.pem", tmp_path / "mail.key"
    authority.issue(cert, key, x509.DNSName("localhost"))
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(cert, key)

    def serve() -> SMTP:
        """Takes mail only after STARTTLS and sign-in."""
        return SMTP(
            postmaster, tls_context=context, require_starttls=True, auth_required=True,
            authenticator=_authenticate, enable_SMTPUTF8=True,
        )

    server = await asyncio.get_running_loop().create_server(serve, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    trust = ssl.create_default_context(cafile=str(authority.ca_file))
    yield SmtpServer("localhost", port, "starttls", "mailer", "s3cret", trust)
    server.close()


@pytest.fixture
async def ses(aws_environment: None) -> AsyncIterator[Ses]:
    opened = await Ses.open(f"m{secrets.token_hex(6)}.example.com")
    yield opened
    await opened.clients.close()


@pytest.fixture
async def communication(azure_environment: None) -> AsyncIterator[tuple[MailDriver, Resource]]:
    resource = Resource(azure.certificate(), SENDER).start()
    clients = AzureClients(azure.place({"email": resource.url}))
    driver = CommunicationMail(clients, resource.url, sender=SENDER, now=lambda: NOW)
    yield driver, resource
    await driver.close()
    resource.stop()


@pytest.fixture(params=["folder", "smtp", "ses", "communication"])
def inbox(request: pytest.FixtureRequest, tmp_path: Path, postmaster: Postmaster) -> Inbox:
    if request.param == "folder":
        folder = tmp_path / "mail"
        driver = FolderMail(folder, sender=SENDER, now=lambda: NOW)
        return Inbox(driver, lambda: [parsed(p.read_bytes()) for p in sorted(folder.glob("*.eml"))])
    if request.param == "ses":
        opened: Ses = request.getfixturevalue("ses")
        mail = SesMail(opened.clients, SesSender(opened.sender), now=lambda: NOW)
        return Inbox(mail, lambda: [parsed(data) for data in opened.sent()], opened.sender)
    if request.param == "communication":
        driver, resource = request.getfixturevalue("communication")
        return Inbox(driver, lambda: [parsed(bytes(m)) for m in resource.messages], dates=False)
    server: SmtpServer = request.getfixturevalue("smtp_server")
    return Inbox(
        SmtpMail(server, sender=SENDER, now=lambda: NOW),
        lambda: [parsed(data) for data in postmaster.messages],
    )


def parsed(data: bytes) -> EmailMessage:
    message = email.message_from_bytes(data, policy=email.policy.default)
    assert isinstance(message, EmailMessage)
    return message
