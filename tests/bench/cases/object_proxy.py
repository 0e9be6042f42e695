"""Files through the gateway to a store that it alone reaches, by the store itself.

The same client, the same bucket of versitygw, one connection; the gateway is a process of
its own. On one machine all three share its processors.
"""

from __future__ import annotations

import asyncio
import hashlib
import http.client
import json
import os
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from urllib.parse import urlsplit

from services.aws.clients import AwsClients
from services.aws.place import AwsPlace
from services.objects.port import SignedTransfer, SignRequest
from services.objects.s3 import S3Driver
from tests.bench.case import Bench
from tests.bench.cases.aws_stores import MISSING_GO, bucket, servers
from tests.bench.figures import Figure, Result, interleave
from tests.servers.aws import REGION

TITLE = "Upload and download through the gateway, by versitygw itself"
_MIB = 64
_CHUNK = 1 << 20
_SMALL, _SMALL_BYTES = 200, 4096


def run(bench: Bench) -> Result:
    """MiB per second of one large object; small ones per second, one after the other."""
    if MISSING_GO:
        return Result(skipped=[MISSING_GO])
    with servers():
        origin, name = bucket()
        with _gateway(origin, name) as public:
            sides = {"direct": _Side(origin, origin, name), "proxy": _Side(origin, public, name)}
            return Result([_uploads(bench, sides), _downloads(bench, sides), _small(bench, sides)])


@contextmanager
def _gateway(origin: str, name: str) -> Iterator[str]:
    """The URL of a gateway before the store."""
    command = [sys.executable, "-m", "tests.bench.object_gateway", origin, name]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    try:
        yield str(json.loads(process.stdout.readline())["url"])
    finally:
        process.terminate()
        process.communicate()


def _uploads(bench: Bench, sides: Mapping[str, _Side]) -> Figure:
    taken = interleave(bench.rounds, {name: side.upload for name, side in sides.items()})
    return _figure("upload of 64 MiB", "MiB/s", taken)


def _downloads(bench: Bench, sides: Mapping[str, _Side]) -> Figure:
    taken = interleave(bench.rounds, {name: side.download for name, side in sides.items()})
    return _figure("download of 64 MiB", "MiB/s", taken)


def _small(bench: Bench, sides: Mapping[str, _Side]) -> Figure:
    taken = interleave(bench.rounds, {name: side.small for name, side in sides.items()})
    return _figure("downloads of 4 KiB, one after the other", "1/s", taken)


def _figure(name: str, unit: str, taken: Mapping[str, list[float]]) -> Figure:
    return Figure(name, unit, "versitygw itself", taken["proxy"], taken["direct"])


class _Side:
    """One way to the bucket: `public` begins the URLs."""

    def __init__(self, origin: str, public: str, name: str) -> None:
        place = AwsPlace(REGION, endpoints={"s3": origin}, public_endpoints={"s3": public})
        self._driver = asyncio.run(S3Driver.open(AwsClients(place), name, path_style=True))
        self._address = urlsplit(public)
        self._large = os.urandom(_MIB << 20)
        self._last = ""

    def upload(self) -> float:
        """MiB per second."""
        self._last = uuid.uuid4().hex
        signed = self._put(self._last, self._large)
        connection, began = self._connection(), time.perf_counter()
        self._asked(connection, signed, self._large)
        return _MIB / (time.perf_counter() - began)

    def download(self) -> float:
        """MiB per second, of what was uploaded last."""
        signed = self._driver.sign(SignRequest("GET", self._last, 300))
        connection, began = self._connection(), time.perf_counter()
        size = self._asked(connection, signed)
        rate = _MIB / (time.perf_counter() - began)
        if size != _MIB << 20:
            raise RuntimeError(f"{size} bytes are not the object")
        return rate

    def small(self) -> float:
        """Downloads per second, over one connection."""
        key, data = uuid.uuid4().hex, os.urandom(_SMALL_BYTES)
        connection = self._connection()
        self._asked(connection, self._put(key, data), data)
        signed = self._driver.sign(SignRequest("GET", key, 300))
        began = time.perf_counter()
        for _ in range(_SMALL):
            self._asked(connection, signed)
        return _SMALL / (time.perf_counter() - began)

    def _put(self, key: str, data: bytes) -> SignedTransfer:
        digest = hashlib.sha256(data).hexdigest()
        return self._driver.sign(SignRequest("PUT", key, 300, size=len(data), sha256=digest))

    def _connection(self) -> http.client.HTTPConnection:
        address = self._address
        return http.client.HTTPConnection(address.hostname or "", address.port, blocksize=_CHUNK)

    @staticmethod
    def _asked(
        connection: http.client.HTTPConnection, signed: SignedTransfer, body: bytes | None = None
    ) -> int:
        """Bytes of the answer, which are read and dropped."""
        parts = urlsplit(signed.url)
        target = f"{parts.path}?{parts.query}"
        connection.request(signed.method, target, body=body, headers=dict(signed.headers))
        answer = connection.getresponse()
        size = 0
        while chunk := answer.read(_CHUNK):
            size += len(chunk)
        if answer.status != 200:
            raise RuntimeError(f"the store answered {answer.status}")
        return size
