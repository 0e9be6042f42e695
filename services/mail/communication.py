"""Mail through Azure Communication Services (REST reference: Email - Send).

A mail that was accepted (202) is handed over: what becomes of it, minutes later, is in the
service's delivery reports, and is not asked for. The operation has an id made from that of
the mail, so a repeat is no second mail; when an answer is lost, or the id is known already,
one look at the operation tells whether the mail was taken.

The message is what SMTP would carry, but with a Date of the service; it keeps our Message-ID
where it can (Microsoft Learn, "Adding reserved custom headers").
"""

from __future__ import annotations

import uuid
from collections.abc import Callable, Mapping, MutableMapping
from datetime import UTC, datetime
from typing import Any, Final

from azure.communication.email.aio import EmailClient
from azure.core.exceptions import HttpResponseError
from azure.core.rest import HttpRequest

from services.azure.clients import AzureClients
from services.azure.failures import Failure, Kind, failure_of
from services.mail.mime import mime_message
from services.mail.port import Mail, MailRefused, MailUnavailable
from services.model.errors import WorkspaceError

__all__ = ["CommunicationMail", "operation_of"]

_SERVICE: Final = "email"
_OPERATIONS: Final = uuid.uuid5(uuid.NAMESPACE_URL, "urn:workspace-management:mail")
_API: Final = "2023-03-31"
_HEADERS: Final = ("Message-ID", "Auto-Submitted")
_KNOWN_ID: Final = 409
_OURS: Final = {
    "DomainNotLinked": "the domain of WM_MAIL_FROM is not connected to the Communication "
    "Services resource: verify it in an Email Communication Service, and connect it",
    "DomainNotVerified": "the domain of WM_MAIL_FROM is not verified: finish its verification "
    "in the Email Communication Service",
    "InvalidSenderUserName": "the domain of WM_MAIL_FROM has no such sender: add it to the "
    "domain's MailFrom addresses, or name `donotreply`, which it has",
    "InvalidSenderAddress": "the resource does not know WM_MAIL_FROM: name a MailFrom address "
    "of a domain that is connected to it",
}
"""What says nothing of the message: it is sent when somebody has mended it."""


def operation_of(mail_id: str) -> str:
    """The id of the operation that sends a mail: the same for its repeats."""
    return str(uuid.uuid5(_OPERATIONS, mail_id))


class CommunicationMail:
    """One call for each message. `endpoint` is the URL of the resource, `sender` an address
    of a domain that is connected to it. `now` is unix seconds."""

    name = "communication"

    def __init__(
        self, clients: AzureClients, endpoint: str, *, sender: str, now: Callable[[], float]
    ) -> None:
        self._clients = clients
        self._endpoint = endpoint.rstrip("/")
        self._sender = sender
        self._now = now
        self._client: EmailClient | None = None

    async def send(self, mail: Mail) -> None:
        message, operation = self._message(mail), operation_of(mail.mail_id)
        try:
            poller = await self._opened().begin_send(message, operation_id=operation, polling=False)
            state = await poller.result()
        except WorkspaceError as error:  # of the settings of the credentials
            raise MailUnavailable(error.message) from None
        except Exception as error:
            failure = failure_of(error, _SERVICE)
            unclear = failure.ambiguous or getattr(error, "status_code", 0) == _KNOWN_ID
            found = await self._look(operation) if unclear else None
            if found is None:
                raise _failed(failure, error) from None  # its text may hold the address
            state = found
        _check(state)

    async def close(self) -> None:
        client, self._client = self._client, None
        if client is not None:
            await client.close()
        await self._clients.close()

    def _message(self, mail: Mail) -> dict[str, Any]:
        """Raises MailRefused for what SMTP would not carry either."""
        at = datetime.fromtimestamp(self._now(), UTC)
        mime = mime_message(mail, sender=self._sender, at=at)
        return {
            "senderAddress": self._sender,
            "recipients": {"to": [{"address": mail.to}]},
            "content": {"subject": mail.subject, "plainText": mail.text},
            "headers": {name: str(mime[name]) for name in _HEADERS},
            "userEngagementTrackingDisabled": True,
        }

    def _opened(self) -> EmailClient:
        if self._client is None:
            self._client = EmailClient(
                self._endpoint, self._clients.credential, **self._clients.options()
            )
        return self._client

    async def _look(self, operation: str) -> MutableMapping[str, Any] | None:
        """The state of an operation; None when there is none, or nobody can tell."""
        url = f"/emails/operations/{operation}?api-version={_API}"
        try:
            answer = await self._opened().send_request(HttpRequest("GET", url))
            return dict(answer.json()) if answer.status_code == 200 else None
        except Exception:
            return None  # the failure that led here is told


def _check(state: Mapping[str, Any] | None) -> None:
    """An operation that ended at once, with the service's verdict."""
    if state and state.get("status") in ("Failed", "Canceled"):
        code = str((state.get("error") or {}).get("code") or state["status"])
        if code in _OURS:
            raise MailUnavailable(_OURS[code])
        raise MailRefused(f"Communication Services dropped the message ({code})")


def _failed(failure: Failure, error: Exception) -> MailRefused | MailUnavailable:
    """By the error's code, and the part of the request that it is about."""
    target = str(getattr(getattr(error, "error", None), "target", "") or "")
    code = failure.code
    if "sender" in target.lower() and code not in _OURS:
        code = "InvalidSenderAddress"
    if code in _OURS:
        return MailUnavailable(_OURS[code])
    if failure.kind is Kind.MISSING:
        return MailUnavailable("there is no such resource: mend WM_AZURE_COMMUNICATION_ENDPOINT")
    if isinstance(error, HttpResponseError) and failure.kind is Kind.INVALID:
        return MailRefused(f"Communication Services refused the message ({failure.code})")
    later = f", in {failure.retry_after:.0f} s" if failure.retry_after else ""
    return MailUnavailable(f"Communication Services does not take messages now{later}: {failure}")
