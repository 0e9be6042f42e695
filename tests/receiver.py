"""A real HTTPS receiver on loopback, with an authority of its own."""

from __future__ import annotations

import asyncio
import ipaddress
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

from cryptography import x509

from tests.authority import Authority

__all__ = ["Receiver", "Request"]


@dataclass(frozen=True)
class Request:
    """What came in."""

    line: str
    headers: dict[str, str]
    body: bytes


@dataclass
class Receiver:
    """Answers with `statuses` in turn, the last one for good; `silent` with nothing."""

    folder: Path
    port: int = 0
    statuses: list[str] = field(default_factory=lambda: ["200 OK"])
    headers: str = ""
    silent: bool = False
    requests: list[Request] = field(default_factory=list)
    arrived: asyncio.Event = field(default_factory=asyncio.Event)

    @classmethod
    @asynccontextmanager
    async def open(cls, folder: Path, *, name: str = "localhost") -> AsyncIterator[Receiver]:
        """Listening with a certificate for `name` (and 127.0.0.1 if it is localhost)."""
        receiver, context = cls(folder), _certificate(folder, name)
        server = await asyncio.start_server(receiver._serve, "127.0.0.1", 0, ssl=context)
        receiver.port = server.sockets[0].getsockname()[1]
        try:
            yield receiver
        finally:
            server.close()

    @property
    def ca_file(self) -> Path:
        return self.folder / "ca.pem"

    def url(self, host: str = "localhost", path: str = "/hook") -> str:
        return f"https://{host}:{self.port}{path}"

    async def until_body(self, text: str) -> None:
        """Until a request came in whose body has the text."""
        while not any(text.encode() in request.body for request in self.requests):
            self.arrived.clear()
            await self.arrived.wait()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            head = (await reader.readuntil(b"\r\n\r\n")).decode()
            line, *rest = head.strip().split("\r\n")
            headers = {k.lower(): v for k, v in (each.split(": ", 1) for each in rest)}
            body = await reader.readexactly(int(headers["content-length"]))
            self.requests.append(Request(line, headers, body))
            self.arrived.set()
            if self.silent:
                await asyncio.sleep(3600)
            status = self.statuses.pop(0) if len(self.statuses) > 1 else self.statuses[0]
            writer.write(f"HTTP/1.1 {status}\r\n{self.headers}content-length: 2\r\n\r\nok".encode())
            await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError, ssl.SSLError):
            return
        finally:
            writer.close()



def _certificate(folder: Path, name: str) -> ssl.SSLContext:
    """A context with a certificate for `name`; ca.pem is its authority."""
    folder.mkdir(parents=True, exist_ok=True)
    names: list[x509.GeneralName] = [x509.DNSName(name)]
    if name == "localhost":
        names.append(x509.IPAddress(ipaddress.ip_address("127.0.0.1")))
    Authority(folder, "ca").issue(folder / "chain.pem", folder / "key.pem", *names)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(folder / "chain.pem", folder / "key.pem")
    return context
