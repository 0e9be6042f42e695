"""The object store in a container of Azure Blob Storage.

Promises, and where they are kept:

- a URL allows reading, or creating, or one upload in parts, on one blob over TLS, never
  overwriting, and dies before the key that signed it (`transfers.py`, `delegation_key.py`);
- what we put at a key was verified before it got there, and is never overwritten
  (`writing.py`, `staging.py`, `copying.py`); what is uploaded by URL is verified when the
  upload is completed, as Azure binds neither length nor checksum (ADR 0024);
- a SHA-256 that is shown is one that we verified and sealed (`sealing.py`);
- failures that may pass are tried again for a while; whether a create-only write that
  brought no answer had its effect is found out by looking (`wire.py`, `writing.py`).

Names that start with "." are ours. A write that is cancelled while its only request is
under way may still leave its object, complete.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

from azure.storage.blob import UserDelegationKey

from services.azure.clients import AzureClients
from services.azure.failures import refusal
from services.objects.azure_blob.clock import ServiceClock
from services.objects.azure_blob.copying import Copying
from services.objects.azure_blob.delegation_key import DelegationKeys
from services.objects.azure_blob.errors import Refused, port_error
from services.objects.azure_blob.opening import (
    check_container,
    fetch_key,
    key_refusal,
    require_private,
    what,
)
from services.objects.azure_blob.reading import Digest, Reading
from services.objects.azure_blob.sealing import Seals
from services.objects.azure_blob.signing import MAX_URL_SECONDS, READ, Signer
from services.objects.azure_blob.staging import Staging, deleted
from services.objects.azure_blob.transfers import Transfers
from services.objects.azure_blob.wire import Wire
from services.objects.azure_blob.writing import PART_BYTES, Writing
from services.objects.keys import validate_key
from services.objects.port import (
    ConstraintKind,
    ObjectCapabilities,
    ObjectInfo,
    ObjectMissing,
    StoreUnavailable,
)
from services.objects.remote import PATIENCE, RemoteObjects

__all__ = ["AzureBlobDriver"]

_SOURCE_SECONDS = 3600
_CAPABILITIES = ObjectCapabilities(
    enforces=frozenset({ConstraintKind.CREATE_ONLY}),
    stores_sha256=False,
    max_single_put=100 * 1024 * 1024,
    max_url_seconds=MAX_URL_SECONDS,
    revocable_urls=False,
)


class AzureBlobDriver(RemoteObjects):
    """`ObjectDriver` over a container; made by `open`. `now` returns unix seconds."""

    def __init__(
        self, clients: AzureClients, account: str, container: str, *,
        now: Callable[[], float], read_only: bool, signing: bool, patience: float,
        part_bytes: int,
    ) -> None:
        self._clients = clients
        self._signing = signing and not read_only
        self._patience = patience
        self._clock = ServiceClock(now)
        self._wire = Wire(clients, account, container, patience=patience)
        self._keys = DelegationKeys(self._fetch_key, self._clock)
        self._seals = Seals(self._clock)
        self._signer = Signer(account, container)
        self._reading = Reading(self._wire, self._seals)
        self._copying = Copying(self._wire, self._reading, self._seals, self._source_url)
        transfers = Transfers(self._wire, self._signer, self._clock, self._keys.current)
        self._writing = Writing(self._wire, self._copying, self._seals, part_bytes=part_bytes)
        self._staging = Staging(self._wire, self._reading, self._copying)
        super().__init__(
            "container", read_only=read_only, reads=self._reading, writes=self._writing,
            uploads=self._staging, signs=transfers.sign,
        )  # fmt: skip

    @classmethod
    async def open(
        cls, clients: AzureClients, account: str, container: str, *,
        now: Callable[[], float] = time.time, read_only: bool = False, signing: bool = True,
        patience: float = PATIENCE, part_bytes: int = PART_BYTES,
    ) -> AzureBlobDriver:
        """The driver of a container that is there. It owns `clients` from then on: `close`
        closes them. Raises WorkspaceError that says what is wrong and what helps.

        One that is `read_only`, or not opened for `signing`, signs no URLs, and asks for no
        key before it copies. `patience`: how long a failing call is tried again, in seconds.
        `part_bytes`: what goes in one request."""
        driver = cls(
            clients, account, container, now=now, read_only=read_only, signing=signing,
            patience=patience, part_bytes=part_bytes,
        )
        try:
            await driver._prepare()
        except BaseException:
            await driver._keys.close()
            await driver._wire.close()
            raise
        return driver

    @property
    def name(self) -> str:
        return "azure_blob"

    @property
    def capabilities(self) -> ObjectCapabilities:
        return _CAPABILITIES

    async def require_private(self) -> None:
        """Raises INVALID_STATE for a container that everybody may read."""
        await require_private(self._wire, patience=self._patience)

    async def probe(self) -> None:
        """One Get Container Properties."""
        try:
            await self._wire.call(self._wire.blobs.get_container_properties, patience=0)
        except Refused as refused:
            raise StoreUnavailable(str(refused.failure)) from refused

    async def copy(self, source: str, target: str) -> ObjectInfo:
        """Inside the store. A source whose SHA-256 is not known is read once."""
        self._require_writable(target)
        found = await self._reading.find(validate_key(source))
        if found is None:
            raise ObjectMissing(source)
        digest = Digest(found.info.size, found.info.sha256)
        try:
            if not digest.sha256:
                digest = await self._reading.digest(source, etag=found.etag)
            return await self._copying.place(found, target, digest, found.info.content_type)
        except Refused as refused:
            raise port_error(refused) from refused

    async def delete(self, key: str) -> None:
        """An absent key is a success. In an account with soft delete the bytes stay for
        its days."""
        self._require_writable(key)
        try:
            await deleted(self._wire, key)
        except Refused as refused:
            raise port_error(refused) from refused

    async def close(self) -> None:
        """Calls under way end with StoreUnavailable, as does every one afterwards. Whether a
        write had its effect is not known then."""
        await self._keys.close()
        await self._wire.close()
        await self._clients.close()
        await asyncio.sleep(0)  # connections end in the next turn of the loop

    async def _prepare(self) -> None:
        headers = await check_container(self._wire, patience=self._patience)
        self._clock.learn(headers.get("date", ""))
        try:
            if self._signing:
                await self._keys.start()
        except (Refused, StoreUnavailable) as error:
            raise key_refusal(error, self._wire) from error
        try:
            await self._seals.load(self._wire, make=not self._read_only)
        except Refused as refused:
            raise refusal(refused.failure, what(self._wire)) from refused

    async def _fetch_key(self, start: float, end: float) -> UserDelegationKey:
        key, headers = await fetch_key(self._wire, start, end, patience=self._patience)
        self._clock.learn(headers.get("date", ""))
        return key

    async def _source_url(self, key: str) -> str:
        try:
            await self._keys.start()
        except Refused as refused:
            raise port_error(refused) from refused
        held, now = self._keys.current(), self._clock()
        query, _ = self._signer.query(held, key, READ, _SOURCE_SECONDS, now)
        return f"{self._wire.url(key)}?{query}"
