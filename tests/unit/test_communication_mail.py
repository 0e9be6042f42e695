"""What only the Communication Services driver does: its operations, and what its failures
mean."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from dataclasses import replace

import pytest

from services.azure.clients import AzureClients
from services.mail.communication import CommunicationMail, operation_of
from services.mail.port import Mail, MailRefused, MailUnavailable
from tests.fakes.communication import Resource
from tests.fakes.https import CUT, CUT_AFTER, Answer
from tests.servers import azure

pytestmark = pytest.mark.usefixtures("azure_environment")
SENDER = "workspace@example.com"
MAIL = Mail("m_1", "ann@example.com", "Plan", "Hello\n")


@pytest.fixture
def resource() -> Iterator[Resource]:
    started = Resource(azure.certificate(), SENDER).start()
    yield started
    started.stop()


def driver_of(resource: Resource, sender: str = SENDER) -> CommunicationMail:
    clients = AzureClients(azure.place({"email": resource.url}))
    return CommunicationMail(clients, f"{resource.url}/", sender=sender, now=lambda: 1.0)


@pytest.fixture
async def driver(resource: Resource) -> AsyncIterator[CommunicationMail]:
    opened = driver_of(resource)
    yield opened
    await opened.close()


def answer(status: int, code: str, *, target: str = "", after: int = 0) -> Answer:
    error = {"code": code, "message": f"{code} of ann@example.com", "target": target}
    return Answer(status, {"error": error}, {"Retry-After": str(after)} if after else {})


def posts(resource: Resource) -> int:
    return sum(each.method == "POST" for each in resource.requests)


async def test_accepted_is_enough(resource: Resource, driver: CommunicationMail) -> None:
    await driver.send(MAIL)
    (request,) = resource.requests
    assert request.headers["operation-id"] == operation_of("m_1")
    document = request.json()
    assert document["userEngagementTrackingDisabled"] is True
    assert "html" not in document["content"]


async def test_a_repeat_is_no_second_mail(resource: Resource, driver: CommunicationMail) -> None:
    await driver.send(MAIL)
    await driver.send(MAIL)
    resource.in_progress = True
    await driver.send(MAIL)
    assert posts(resource) == 3
    assert len(resource.messages) == 1
    await driver.send(replace(MAIL, mail_id="m_2"))
    assert len(resource.messages) == 2


async def test_a_lost_answer_is_looked_up_once(
    resource: Resource, driver: CommunicationMail
) -> None:
    resource.faults.append(CUT_AFTER)
    await driver.send(MAIL)
    assert [each.method for each in resource.requests] == ["POST", "GET"]
    assert len(resource.messages) == 1


async def test_what_never_arrived_is_sent_later(
    resource: Resource, driver: CommunicationMail
) -> None:
    for faults in ([CUT], [CUT_AFTER, answer(503, "ServiceUnavailable")]):
        resource.faults.extend(faults)
        with pytest.raises(MailUnavailable):
            await driver.send(MAIL)
    await driver.send(MAIL)
    assert len(resource.messages) == 1


async def test_an_operation_that_failed_is_a_refusal(
    resource: Resource, driver: CommunicationMail
) -> None:
    code = "EmailDroppedAllRecipientsSuppressed"
    failed = {"id": operation_of("m_1"), "status": "Failed", "error": {"code": code}}
    resource.operations[operation_of("m_1")] = failed
    with pytest.raises(MailRefused, match=code):
        await driver.send(MAIL)
    failed["error"] = {"code": "DomainNotLinked"}
    with pytest.raises(MailUnavailable, match="WM_MAIL_FROM"):
        await driver.send(MAIL)


@pytest.mark.parametrize(
    "fault",
    [
        answer(400, "InvalidEmailAddress", target="recipients.to"),
        answer(400, "RequestBodyValidationError"),
        answer(413, "RequestEntityTooLarge"),
    ],
    ids=lambda each: each.document["error"]["code"],
)
async def test_what_is_wrong_with_a_message_is_a_refusal(
    resource: Resource, driver: CommunicationMail, fault: Answer
) -> None:
    resource.faults.append(fault)
    with pytest.raises(MailRefused) as caught:
        await driver.send(MAIL)
    assert "ann@" not in str(caught.value)
    assert caught.value.__cause__ is None


async def test_the_service_refuses_what_is_no_address(
    resource: Resource, driver: CommunicationMail
) -> None:
    with pytest.raises(MailRefused, match="InvalidEmailAddress"):
        await driver.send(replace(MAIL, to='"ann lee"@example.com'))
    assert resource.messages == []


@pytest.mark.parametrize(
    ("fault", "said"),
    [
        (answer(429, "TooManyRequests", after=40), "in 40 s"),
        (answer(404, "DomainNotLinked"), "connect it"),
        (answer(400, "InvalidSenderUserName"), "MailFrom"),
        (answer(400, "RequestBodyValidationError", target="senderAddress"), "MailFrom"),
        (answer(404, "NotFound"), "WM_AZURE_COMMUNICATION_ENDPOINT"),
        (answer(401, "Unauthorized"), "az login"),
        (answer(403, "Denied"), "'Communication and Email Service Owner'"),
        (answer(500, "InternalServerError"), "repeat later"),
        (answer(503, "ServiceUnavailable"), "repeat later"),
    ],
)
async def test_what_is_ours_or_passing_keeps_the_mail(
    resource: Resource, driver: CommunicationMail, fault: Answer, said: str
) -> None:
    resource.faults.append(fault)
    with pytest.raises(MailUnavailable) as caught:
        await driver.send(MAIL)
    assert said in str(caught.value)
    assert "ann@" not in str(caught.value)
    await driver.send(MAIL)
    assert len(resource.messages) == 1


@pytest.mark.parametrize("sender", ["workspace@elsewhere.example", "nobody@example.com"])
async def test_a_sender_that_is_not_of_a_connected_domain_keeps_the_mail(
    resource: Resource, sender: str
) -> None:
    driver = driver_of(resource, sender)
    with pytest.raises(MailUnavailable, match="WM_MAIL_FROM"):
        await driver.send(MAIL)
    await driver.close()


async def test_who_may_not_send_is_told_the_role(
    resource: Resource, driver: CommunicationMail
) -> None:
    resource.role = False
    with pytest.raises(MailUnavailable, match="Communication and Email Service Owner"):
        await driver.send(MAIL)


async def test_a_resource_that_is_nowhere_keeps_the_mail(
    resource: Resource, driver: CommunicationMail
) -> None:
    resource.stop()
    with pytest.raises(MailUnavailable, match="nothing answers"):
        await driver.send(MAIL)


async def test_without_an_identity_the_mail_is_kept(
    driver: CommunicationMail, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(azure.sign_in(), "refuse", True)
    with pytest.raises(MailUnavailable, match="az login"):
        await driver.send(MAIL)


async def test_credentials_that_cannot_be_are_no_fault_of_the_mail(
    driver: CommunicationMail, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("TENANT_ID", "CLIENT_ID", "CLIENT_SECRET"):
        monkeypatch.setenv(f"AZURE_{name}", "no name!")
    with pytest.raises(MailUnavailable, match="AZURE_TENANT_ID"):
        await driver.send(MAIL)
