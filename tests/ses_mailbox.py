"""Amazon SES on moto, and a way to see what was sent through it."""

from __future__ import annotations

import json
import urllib.request

from services.aws.clients import AwsClients
from tests.servers import aws

__all__ = ["Ses"]


class Ses:
    """A verified domain; `sender` is an address of it."""

    def __init__(self, clients: AwsClients, sender: str) -> None:
        self.clients = clients
        self.sender = sender

    @classmethod
    async def open(cls, domain: str) -> Ses:
        clients = aws.clients_of(aws.moto_of_messages())
        await clients.call("sesv2", "create_email_identity", EmailIdentity=domain)
        return cls(clients, f"workspace@{domain}")

    def sent(self) -> list[bytes]:
        """The raw messages of this sender, oldest first."""
        with urllib.request.urlopen(f"{aws.moto_of_messages().url}data.json", timeout=60) as answer:
            document = json.load(answer)
        messages = document.get("ses", {}).get("RawMessage", [])
        return [m["raw_data"].encode() for m in messages if m["source"] == self.sender]
