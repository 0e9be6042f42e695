"""Calls to one container through the SDK, tried again by us.

Its own retries are off (services/azure/clients.py): what may be repeated is known here. A
create-only write may: that it had happened already is seen by its answer, and looked at.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, TypeVar
from urllib.parse import quote

import aiohttp

from services.azure.clients import AzureClients
from services.azure.failures import Failure, Kind
from services.azure.one_resource import STORAGE, OneResource
from services.call_scopes import CallScopes
from services.objects.azure_blob.errors import FAILURES, Refused, refused_of
from services.objects.azure_blob.transport import BoundedTransport
from services.objects.port import StoreUnavailable

from azure.storage.blob.aio import BlobClient, BlobServiceClient, ContainerClient  # isort: skip

__all__ = ["STEP", "Headers", "Wire"]

_T = TypeVar("_T")
Headers = Mapping[str, str]

STEP = 4 * 1024 * 1024
"""Bytes of one read."""
_WHOLE = 128 * 1024 * 1024
_FIRST_PAUSE, _LONGEST_PAUSE = 0.1, 3.0
_SLOWEST = 64 * 1024
"""Bytes a second, below which a transfer is given up."""


class Wire:
    """`patience` is how long a failing call is tried again, in seconds. May be used by
    several tasks."""

    def __init__(
        self, clients: AzureClients, account: str, container: str, *, patience: float
    ) -> None:
        self.account = account
        self.container = container
        self._url = clients.place.blob_url(account).rstrip("/")
        self._patience = patience
        self._seconds = 3 * clients.place.call_seconds
        self._scopes = CallScopes(_closed)
        options = clients.options()
        self._transport = BoundedTransport(**options)
        self._service = BlobServiceClient(
            self._url, OneResource(clients.credential, STORAGE), transport=self._transport,
            max_single_put_size=_WHOLE, max_single_get_size=STEP, max_chunk_get_size=STEP,
            **options,
        )  # fmt: skip

    @property
    def service(self) -> BlobServiceClient:
        return self._service

    @property
    def blobs(self) -> ContainerClient:
        """The container."""
        return self._service.get_container_client(self.container)

    def blob(self, key: str) -> BlobClient:
        """One blob of the container."""
        return self._service.get_blob_client(self.container, key)

    def url(self, key: str) -> str:
        """Of a blob; its name is encoded once."""
        return f"{self._url}/{self.container}/{quote(key, safe='/~')}"

    async def call(
        self, work: Callable[..., Awaitable[_T]], *arguments: Any, patience: float | None = None,
        size: int = 0, **keywords: Any,
    ) -> _T:
        """What `work` returns. See `asked`."""
        return (
            await self.asked(work, *arguments, patience=patience, size=size, **keywords)
        )[0]

    async def asked(
        self, work: Callable[..., Awaitable[_T]], *arguments: Any, patience: float | None = None,
        size: int = 0, **keywords: Any,
    ) -> tuple[_T, Headers]:
        """What `work` of the SDK returns, and the headers of the answer in lower case. A
        failure that may pass is tried again, with full jitter, not before the service
        wants it. `size`: the bytes that travel. Raises Refused."""
        end = time.monotonic() + (self._patience if patience is None else patience)
        number = 0
        while True:
            try:
                return await self._once(work, arguments, keywords, size)
            except Refused as refused:
                limit = min(_LONGEST_PAUSE, _FIRST_PAUSE * 2**number)
                pause = random.uniform(0, limit)  # noqa: S311 - no secret
                pause = max(pause, refused.failure.retry_after)
                if not refused.failure.passing or time.monotonic() + pause >= end:
                    raise
            number += 1
            await asyncio.sleep(pause)

    async def close(self) -> None:
        """End the calls under way and the connections; afterwards every call fails."""
        await self._scopes.close()
        await self._service.close()
        await self._transport.close()

    async def _once(
        self, work: Callable[..., Awaitable[_T]], arguments: tuple[Any, ...],
        keywords: dict[str, Any], size: int,
    ) -> tuple[_T, Headers]:
        heard: dict[str, str] = {}

        def hear(response: Any) -> None:
            heard.clear()
            heard.update({k.lower(): v for k, v in response.http_response.headers.items()})

        try:
            async with self._scopes.call(), asyncio.timeout(self._seconds + size / _SLOWEST):
                done = await work(*arguments, raw_response_hook=hear, **keywords)
        except aiohttp.ClientError as error:
            failure = Failure(Kind.UNAVAILABLE, type(error).__name__, "blob", ambiguous=True)
            raise Refused(failure, 0) from error
        except FAILURES as error:
            raise refused_of(error) from error
        return done, heard


def _closed() -> StoreUnavailable:
    return StoreUnavailable("the object store is closed")
