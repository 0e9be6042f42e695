"""The object store in a bucket of S3.

Promises, and where they are kept:

- a URL allows one method on one key, with exactly the length, type, SHA-256 and
  create-only that were signed (`transfers.py`, `signing.py`);
- what is at a key was verified before it got there, and is never overwritten
  (`writing.py`, `staging.py`, `copying.py`);
- a SHA-256 that is shown is S3's own, or one that we verified (`reading.py`);
- failures that may pass are tried again for a while; whether a create-only write that
  brought no answer had its effect is found out by looking (`wire.py`, `writing.py`).

Names that start with "." are ours. A write that is cancelled while its only PUT is under
way may still leave its object, complete.
"""

from __future__ import annotations

import time
from collections.abc import Callable

from services.aws.clients import AwsClients
from services.objects.keys import validate_key
from services.objects.port import (
    ConstraintKind,
    ObjectCapabilities,
    ObjectInfo,
    ObjectMissing,
    StoreUnavailable,
)
from services.objects.remote import PATIENCE, RemoteObjects
from services.objects.s3.addressing import address_of
from services.objects.s3.copying import Copying
from services.objects.s3.errors import Refused, port_error
from services.objects.s3.identities import Identities
from services.objects.s3.opening import check_bucket
from services.objects.s3.parts import Parts
from services.objects.s3.reading import Reading
from services.objects.s3.signing import MAX_URL_SECONDS, Signer
from services.objects.s3.staging import Staging
from services.objects.s3.transfers import Transfers
from services.objects.s3.turns import Turns
from services.objects.s3.wire import Call, Wire
from services.objects.s3.writing import PART_BYTES, Writing

__all__ = ["S3Driver"]

_CAPABILITIES = ObjectCapabilities(
    enforces=frozenset(ConstraintKind),
    stores_sha256=True,
    max_single_put=100 * 1024 * 1024,
    max_url_seconds=MAX_URL_SECONDS,
    revocable_urls=False,
)


class S3Driver(RemoteObjects):
    """`ObjectDriver` over a bucket; made by `open`. `now` returns unix seconds."""

    def __init__(
        self, clients: AwsClients, bucket: str, *, path_style: bool, now: Callable[[], float],
        read_only: bool, patience: float, part_bytes: int,
    ) -> None:
        place = clients.place
        address, public = (
            address_of(bucket, place.region, endpoint=endpoint, path_style=path_style)
            for endpoint in (place.endpoint_of("s3"), place.public_endpoint_of("s3"))
        )
        signer, identities = Signer(place.region), Identities(clients, now)
        self._clients = clients
        self._wire = Wire(
            clients, address, signer=signer, identities=identities, now=now, patience=patience
        )
        transfers = Transfers(public, signer=signer, identities=identities, now=now)
        self._reading = Reading(self._wire)
        self._turns = Turns()
        parts = Parts(self._wire)
        self._copying = Copying(self._wire, self._reading, parts, bucket=bucket)
        common = (self._wire, self._reading, parts, self._copying, self._turns)
        super().__init__(
            "bucket", read_only=read_only, reads=self._reading,
            writes=Writing(*common, part_bytes=part_bytes), uploads=Staging(*common),
            signs=transfers.sign,
        )  # fmt: skip

    @classmethod
    async def open(
        cls, clients: AwsClients, bucket: str, *, path_style: bool = False,
        now: Callable[[], float] = time.time, read_only: bool = False,
        patience: float = PATIENCE, part_bytes: int = PART_BYTES,
    ) -> S3Driver:
        """The driver of a bucket that is there. It owns `clients` from then on: `close`
        closes them. Raises WorkspaceError that says what is wrong and what helps.

        `patience`: how long a failing call is tried again, in seconds. `part_bytes`: what
        goes in one request, at least 5 MiB."""
        driver = cls(
            clients, bucket, path_style=path_style, now=now, read_only=read_only,
            patience=patience, part_bytes=part_bytes,
        )
        try:
            await check_bucket(driver._wire, bucket, clients.place.region, patience=patience)
        except BaseException:
            driver._wire.close()
            raise
        return driver

    @property
    def name(self) -> str:
        return "s3"

    @property
    def capabilities(self) -> ObjectCapabilities:
        return _CAPABILITIES

    async def probe(self) -> None:
        """One HeadBucket."""
        try:
            await self._wire.call(Call("HeadBucket", "HEAD"), patience=0)
        except Refused as refused:
            raise StoreUnavailable(str(refused.failure)) from refused

    async def copy(self, source: str, target: str) -> ObjectInfo:
        """Inside S3. One whose SHA-256 is not known is read once."""
        self._require_writable(target)
        found = await self._reading.find(validate_key(source))
        if found is None:
            raise ObjectMissing(source)
        sha256 = found.info.sha256
        try:
            sha256 = sha256 or (await self._reading.digest(source, etag=found.etag))[1]
            async with self._turns.of(target):
                return await self._copying.place(found, target, sha256)
        except Refused as refused:
            raise port_error(refused) from refused

    async def delete(self, key: str) -> None:
        """An absent key is a success. In a bucket with versions the bytes stay until
        its lifecycle removes them."""
        self._require_writable(key)
        try:
            await self._wire.call(Call("DeleteObject", "DELETE", key))
        except Refused as refused:
            if not refused.absent:
                raise port_error(refused) from refused

    async def close(self) -> None:
        """Wait for what is under way; afterwards nothing may be called."""
        await self._clients.close()
        self._wire.close()
