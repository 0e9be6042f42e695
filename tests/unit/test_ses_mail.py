"""What only the SES driver does: its parameters, and what its failures mean."""

from __future__ import annotations

import secrets
from collections.abc import AsyncIterator

import pytest

from services.mail.port import Mail, MailRefused, MailUnavailable
from services.mail.ses import SesMail, SesSender
from tests.aws_faults import Answers, seen
from tests.ses_mailbox import Ses

pytestmark = pytest.mark.usefixtures("aws_environment")
MAIL = Mail("m_1", "ann@example.com", "Plan", "Hello\n")
ARN = "arn:aws:ses:eu-central-1:123456789012:identity/example.com"


@pytest.fixture
async def ses(aws_environment: None) -> AsyncIterator[Ses]:
    opened = await Ses.open(f"s{secrets.token_hex(6)}.example.com")
    yield opened
    await opened.clients.close()


def driver(ses: Ses, **more: str) -> SesMail:
    return SesMail(ses.clients, SesSender(ses.sender, **more), now=lambda: 1_790_000_000.0)


async def test_the_sender_and_its_configuration_go_along(ses: Ses) -> None:
    calls = seen(ses.clients, "sesv2", "SendEmail")
    await driver(ses, configuration_set="mail", identity_arn=ARN).send(MAIL)
    (call,) = calls
    assert call["Destination"] == {"ToAddresses": [MAIL.to]}
    assert call["ConfigurationSetName"] == "mail"
    assert call["FromEmailAddressIdentityArn"] == ARN
    assert call["EmailTags"] == [{"Name": "mail_id", "Value": "m_1"}]


@pytest.mark.parametrize(
    ("code", "text"),
    [
        ("MessageRejected", "Email contains a virus for ann@example.com"),
        ("BadRequestException", "Illegal address ann@example.com"),
    ],
)
async def test_what_is_wrong_with_a_message_is_a_refusal(ses: Ses, code: str, text: str) -> None:
    Answers(ses.clients, "sesv2", "SendEmail").faults = [(400, code, text)]
    with pytest.raises(MailRefused) as caught:
        await driver(ses).send(MAIL)
    assert "ann@" not in str(caught.value)
    assert caught.value.__cause__ is None


@pytest.mark.parametrize(
    ("status", "code", "said"),
    [
        (429, "TooManyRequestsException", "fewer requests"),
        (400, "LimitExceededException", "fewer requests"),
        (400, "AccountSuspendedException", "suspended"),
        (400, "SendingPausedException", "paused"),
        (400, "MailFromDomainNotVerifiedException", "MAIL FROM"),
        (404, "NotFoundException", "configuration set"),
        (403, "AccessDeniedException", "ses:SendEmail"),
        (403, "ExpiredTokenException", "sign in again"),
        (500, "InternalFailure", "repeat later"),
        (400, "SomethingNew", "SomethingNew"),
    ],
)
async def test_what_is_ours_or_passing_keeps_the_mail(
    ses: Ses, status: int, code: str, said: str
) -> None:
    Answers(ses.clients, "sesv2", "SendEmail").faults = [(status, code, "of ann@example.com")]
    with pytest.raises(MailUnavailable) as caught:
        await driver(ses).send(MAIL)
    assert said in str(caught.value)
    assert "ann@" not in str(caught.value)
    await driver(ses).send(MAIL)
    assert len(ses.sent()) == 1


async def test_an_unverified_sender_and_the_sandbox_keep_the_mail(ses: Ses) -> None:
    unverified = SesMail(ses.clients, SesSender("a@unverified.example.org"), now=lambda: 0.0)
    with pytest.raises(MailUnavailable, match="sandbox"):
        await unverified.send(MAIL)
    Answers(ses.clients, "sesv2", "SendEmail").faults = [
        (400, "MessageRejected", "Email address is not verified. The following identities failed "
         "the check in region EU-CENTRAL-1: ann@example.com"),
    ]  # fmt: skip
    with pytest.raises(MailUnavailable, match="sandbox"):
        await driver(ses).send(MAIL)
