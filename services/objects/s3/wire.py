"""Signed requests to one bucket: over pooled connections, in threads, tried again.

The SDK's transport (`URLLib3Session`: proxies, certificates, timeouts) without the rest
of the SDK, which takes several times as long for a small object.
"""

from __future__ import annotations

import asyncio
import os
import random
import socket
import threading
import time
from collections.abc import Awaitable, Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, TypeVar

from botocore.awsrequest import AWSPreparedRequest
from botocore.exceptions import BotoCoreError
from botocore.httpsession import URLLib3Session
from botocore.utils import get_environ_proxies
from urllib3.exceptions import HTTPError

from services.aws.clients import AwsClients, ClientsClosed
from services.objects.port import StoreUnavailable
from services.objects.s3.addressing import Address
from services.objects.s3.errors import Refused, document, failed, unanswered
from services.objects.s3.identities import Identities
from services.objects.s3.signing import EMPTY_SHA256, UNSIGNED, Signer

__all__ = ["Answer", "Body", "Call", "Wire"]

_T = TypeVar("_T")

_CONNECT_SECONDS = 3.0
_CONNECTIONS = 64
_LONG_SECONDS = 300.0
_FIRST_PAUSE, _LONGEST_PAUSE = 0.1, 3.0
# Head and body are two segments: without it the second waits up to 40 ms for the
# acknowledgement of the first (Nagle, RFC 896). The transport's default is none.
_SOCKET_OPTIONS = [
    (socket.IPPROTO_TCP, socket.TCP_NODELAY, 1), (socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1),
]  # fmt: skip
_CHUNK, _MOST_BYTES = 256 * 1024, 16 * 1024 * 1024
"""Of an answer that is kept whole: a list of 1,000 keys has at most 4 MiB. Servers that
a connection names need not mean well."""


@dataclass(frozen=True, slots=True)
class Call:
    """One request. `operation` as S3 names it; `key` '' is the bucket; `sha256` is that
    of `body`. `slow`: S3 may work for minutes before it answers."""

    operation: str
    method: str
    key: str = ""
    query: Iterable[tuple[str, str]] = ()
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""
    sha256: str = EMPTY_SHA256
    slow: bool = False


@dataclass(frozen=True, slots=True)
class Answer:
    """A success. Header names are in lower case."""

    status: int
    headers: Mapping[str, str]
    body: bytes


class Body:
    """The rest of an answer's body, read and closed by threads."""

    def __init__(self, raw: Any) -> None:
        self._raw = raw
        self._lock = threading.Lock()

    def read(self, count: int) -> bytes:
        """Blocking; b'' at the end. Raises urllib3's errors."""
        with self._lock:
            return bytes(self._raw.read(count, decode_content=False))

    def close(self) -> None:
        """The connection is used again if everything was read."""
        with self._lock, suppress(HTTPError, OSError):
            if self._raw.isclosed():
                self._raw.release_conn()
            else:
                self._raw.close()


class Wire:
    """`patience` is how long a call is tried again, in seconds; `now` gives unix
    seconds. May be used by several tasks."""

    def __init__(
        self, clients: AwsClients, address: Address, *, signer: Signer, identities: Identities,
        now: Callable[[], float], patience: float,
    ) -> None:
        self._clients = clients
        self._address = address
        self._signer = signer
        self._identities = identities
        self._now = now
        self._patience = patience
        seconds = clients.place.call_seconds
        self._quick = _session(address.url, seconds)
        self._slow = _session(address.url, max(seconds, _LONG_SECONDS))

    async def call(self, call: Call, *, patience: float | None = None) -> Answer:
        """The answer; a failure that may pass is tried again, with full jitter. Raises
        Refused. Only what may be repeated is called by this."""
        wait = self._patience if patience is None else patience
        return await self._again(lambda: self.run(self.send, call), wait)

    async def open(self, call: Call) -> tuple[Answer, Body]:
        """Like `call`; the body is read by the caller, who closes it."""
        return await self._again(lambda: self.run(self.begin, call), self._patience)

    async def run(self, work: Callable[..., _T], *arguments: Any) -> _T:
        """Blocking `work` in a thread. Raises StoreUnavailable once the clients are closed."""
        try:
            return await self._clients.run(work, *arguments)
        except ClientsClosed as error:
            raise StoreUnavailable("the object store is closed") from error

    def send(self, call: Call) -> Answer:
        """One attempt; blocking. Raises Refused."""
        raw, status, headers = self._sent(call)
        body = _read_all(raw, call.operation)
        if status >= 300 or not _is_done(call, headers, body):
            raise failed(call.operation, status, headers, body)
        return Answer(status, headers, body)

    def begin(self, call: Call) -> tuple[Answer, Body]:
        """One attempt; blocking. Raises Refused."""
        raw, status, headers = self._sent(call)
        if status >= 300:
            raise failed(call.operation, status, headers, _read_all(raw, call.operation))
        return Answer(status, headers, b""), Body(raw)

    def close(self) -> None:
        """End idle connections."""
        self._quick.close()
        self._slow.close()

    def _sent(self, call: Call) -> tuple[Any, int, dict[str, str]]:
        path = self._address.path(call.key)
        try:
            headers, query = self._signer.headers(
                self._identities.current(), call.method, self._address.host, path,
                query=call.query, headers=call.headers, at=int(self._now()),
                # The checksum is a signed header: one more hash would prove nothing more.
                payload=UNSIGNED if "x-amz-checksum-sha256" in call.headers else call.sha256,
            )
            url = f"{self._address.url}{path}{'?' if query else ''}{query}"
            headers["content-length"] = str(len(call.body))
            request = AWSPreparedRequest(call.method, url, headers, call.body or None, True)
            answer = (self._slow if call.slow else self._quick).send(request)
        except (BotoCoreError, OSError) as error:
            raise unanswered(call.operation, error) from error
        found = {name.lower(): value for name, value in answer.headers.items()}
        return answer.raw, int(answer.status_code), found

    async def _again(self, attempt: Callable[[], Awaitable[_T]], patience: float) -> _T:
        end, number = time.monotonic() + patience, 0
        while True:
            try:
                return await attempt()
            except Refused as refused:
                limit = min(_LONGEST_PAUSE, _FIRST_PAUSE * 2**number)
                pause = random.uniform(0, limit)  # noqa: S311 - no secret
                if not refused.passing or time.monotonic() + pause >= end:
                    raise
            number += 1
            await asyncio.sleep(pause)


def _is_done(call: Call, headers: Mapping[str, str], body: bytes) -> bool:
    """Whether a success is one: calls that take long answer 200 before they know, and a
    proxy says 200 with a page of its own. What is written has a tag."""
    if call.slow:
        root = document(body)
        return root is not None and root.tag.endswith("Result")
    return call.method != "PUT" or "etag" in headers


def _session(url: str, seconds: float) -> URLLib3Session:
    bundle = os.environ.get("AWS_CA_BUNDLE") or os.environ.get("REQUESTS_CA_BUNDLE")
    return URLLib3Session(
        verify=bundle or True, proxies=get_environ_proxies(url),
        timeout=(min(_CONNECT_SECONDS, seconds), seconds), max_pool_connections=_CONNECTIONS,
        socket_options=_SOCKET_OPTIONS,
    )


def _read_all(raw: Any, operation: str) -> bytes:
    body = bytearray()
    try:
        while chunk := raw.read(_CHUNK, decode_content=False):
            body += chunk
            if len(body) > _MOST_BYTES:
                raw.close()
                raise OSError("an answer that has no end")  # noqa: TRY301 - as others
    except (HTTPError, OSError) as error:
        raise unanswered(operation, error) from error
    raw.release_conn()
    return bytes(body)
