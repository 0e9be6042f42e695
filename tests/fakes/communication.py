"""The e-mail part of a Communication Services resource (REST reference: Email - Send, Get Send
Result, 2023-03-31 and later). It sends nothing: `messages` are what was taken. What it answers
to an operation id that it knows is what "Repeatability of requests" says of this API: the
first answer again.
"""

from __future__ import annotations

import re
import uuid
from email.message import EmailMessage
from email.policy import SMTP
from email.utils import formatdate
from pathlib import Path
from typing import Any

from tests.fakes.https import Answer, HttpsFake, Request

__all__ = ["Resource"]

_ADDRESS = re.compile(r"[^@\s,<>]+@[^@\s,<>]+")
_VERSIONS = ("2023-03-31", "2025-09-01")


class Resource(HttpsFake):
    """`senders` are the MailFrom addresses of connected domains; `role`: whether the
    identity may send; `in_progress`: an id that is known is a conflict, as while the first
    request goes on."""

    audiences = ("https://communication.azure.com", "https://communication.azure.com/")

    def __init__(self, certificate: tuple[Path, Path], *senders: str) -> None:
        super().__init__(certificate)
        self.senders = set(senders)
        self.operations: dict[str, dict[str, Any]] = {}
        self.messages: list[EmailMessage] = []
        self.role = True
        self.in_progress = False

    def handle(self, request: Request) -> Answer:
        if request.query.get("api-version") not in _VERSIONS:
            return self.error(400, "UnsupportedApiVersion")
        if not self.role:
            return self.error(403, "Denied", "Denied by the resource provider.")
        if (request.method, request.path) == ("POST", "/emails:send"):
            return self._send(request)
        operation = request.path.removeprefix("/emails/operations/")
        if request.method == "GET" and operation in self.operations:
            return Answer(200, self.operations[operation], {"retry-after": "10"})
        return self.error(404, "NotFound")

    def _send(self, request: Request) -> Answer:
        operation = request.headers.get("operation-id") or str(uuid.uuid4())
        try:
            uuid.UUID(operation)
        except ValueError:
            return self.error(400, "BadRequest", "The operation id is no GUID.")
        if operation in self.operations and self.in_progress:
            return self.error(409, "Conflict", "The operation is in progress.")
        if operation not in self.operations:
            message = request.json()
            if refused := self._refused(message):
                return refused
            self.messages.append(_mime(message))
            self.operations[operation] = {"id": operation, "status": "Running", "error": None}
        location = f"{self.url}/emails/operations/{operation}?api-version=2023-03-31"
        headers = {"Operation-Location": location, "retry-after": "10"}
        return Answer(202, self.operations[operation], headers)

    def _refused(self, message: dict[str, Any]) -> Answer | None:
        user, _, domain = message["senderAddress"].partition("@")
        if domain not in {each.partition("@")[2] for each in self.senders}:
            return self.error(
                404, "DomainNotLinked", "The specified sender domain has not been linked."
            )
        if message["senderAddress"] not in self.senders:
            return self.error(400, "InvalidSenderUserName", f"Invalid sender username {user}.")
        addresses = [each["address"] for each in message["recipients"]["to"]]
        if not addresses or not all(map(_ADDRESS.fullmatch, addresses)):
            return self.error(
                400, "InvalidEmailAddress", f"Invalid format for email address {addresses}"
            )
        if not message["content"].get("subject") or not message["content"].get("plainText"):
            return self.error(400, "RequestBodyValidationError", target="content")
        return None


def _mime(message: dict[str, Any]) -> EmailMessage:
    """The message as receivers see it."""
    made = EmailMessage(policy=SMTP)
    made["From"] = message["senderAddress"]
    made["To"] = ", ".join(each["address"] for each in message["recipients"]["to"])
    made["Subject"] = message["content"]["subject"]
    made["Date"] = formatdate()
    for name, value in message.get("headers", {}).items():
        made[name] = value
    made.set_content(message["content"]["plainText"])
    return made
