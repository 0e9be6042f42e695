"""Mail through Amazon SES (API v2, SendEmail with the raw message).

The message is the one that SMTP would carry, but SES puts a Message-ID and a Date of
its own; the id of the mail goes along as the tag `mail_id` of its delivery events. SES
knows no repeats: a mail whose answer was lost is sent again.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

from services.aws.clients import AwsClients

# After the clients: without the SDK those say how to install it.
from services.aws.failures import failure_of
from services.mail.mime import mime_message
from services.mail.port import Mail, MailRefused, MailUnavailable

__all__ = ["SesMail", "SesSender"]

_SERVICE: Final = "sesv2"
_OPERATION: Final = "send_email"
_REJECTED: Final = "MessageRejected"
_OF_MESSAGE: Final = frozenset([_REJECTED, "BadRequestException", "InvalidParameterValue"])
"""A virus, an address that is none. The names that we give it are checked at the start."""
_UNVERIFIED: Final = ("not verified", "authority to send")
_OURS: Final = {
    "AccountSuspendedException": "SES has suspended this account: look at its console",
    "SendingPausedException": "sending is paused in SES: resume it there",
    "MailFromDomainNotVerifiedException": "the MAIL FROM domain is not verified in SES",
    "NotFoundException": "SES has no such identity or configuration set: make it with "
    "`wm setup aws` or deploy/aws/runtime.yaml, or mend WM_SES_CONFIGURATION_SET",
}
"""What says nothing of the message: it is sent when somebody has mended it."""


@dataclass(frozen=True, slots=True)
class SesSender:
    """`address` is verified in SES, itself or by its domain. `identity_arn` names the
    identity of another account that lets this one send for it."""

    address: str
    configuration_set: str = ""
    identity_arn: str = ""


class SesMail:
    """One call for each message. `now` is unix seconds."""

    name = "ses"

    def __init__(
        self, clients: AwsClients, sender: SesSender, *, now: Callable[[], float]
    ) -> None:
        self._clients = clients
        self._sender = sender
        self._now = now

    async def send(self, mail: Mail) -> None:
        at = datetime.fromtimestamp(self._now(), UTC)
        data = bytes(mime_message(mail, sender=self._sender.address, at=at))
        try:
            await self._clients.call(_SERVICE, _OPERATION, **self._request(mail, data))
        except Exception as error:
            raise _failed(error) from None  # its text may hold the address

    async def close(self) -> None:
        await self._clients.close()

    def _request(self, mail: Mail, data: bytes) -> dict[str, Any]:
        optional = {
            "ConfigurationSetName": self._sender.configuration_set,
            "FromEmailAddressIdentityArn": self._sender.identity_arn,
        }
        return {
            "FromEmailAddress": self._sender.address,
            "Destination": {"ToAddresses": [mail.to]},
            "Content": {"Raw": {"Data": data}},
            "EmailTags": [{"Name": "mail_id", "Value": mail.mail_id}],
        } | {name: value for name, value in optional.items() if value}


def _failed(error: Exception) -> MailRefused | MailUnavailable:
    """By the error's code. Of its text only what kind of rejection it is."""
    failure = failure_of(error, _SERVICE, _OPERATION)
    if failure.code in _OURS:
        return MailUnavailable(_OURS[failure.code])
    if failure.code == _REJECTED and any(word in str(error) for word in _UNVERIFIED):
        return MailUnavailable(
            "an address is not verified in SES: verify the sender's domain, and ask AWS to take "
            "the account out of the sandbox, in which receivers must be verified, too"
        )
    if failure.code in _OF_MESSAGE:
        return MailRefused(f"SES refused the message ({failure.code})")
    return MailUnavailable(f"SES does not take messages now: {failure}")
