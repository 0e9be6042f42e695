"""Signed URLs of Blob Storage, by the SDK's signature alone; how often a key is asked for."""

from __future__ import annotations

import asyncio
import base64
import time
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

from azure.storage.blob import UserDelegationKey, generate_blob_sas

from services.azure.clients import AzureClients
from services.azure.place import AzurePlace
from services.objects.azure_blob.clock import ServiceClock
from services.objects.azure_blob.delegation_key import DelegationKeys
from services.objects.azure_blob.signing import Signer
from services.objects.azure_blob.transfers import Transfers
from services.objects.azure_blob.wire import Wire
from services.objects.port import SignRequest
from tests.bench.case import Bench
from tests.bench.figures import Figure, Goal, Result, interleave

TITLE = "Signed URLs of Blob Storage, by the SDK's signature"
_ACCOUNT, _CONTAINER = "benchaccount", "bench"
_KEY = "accounts/a_1/projects/p_1/documents/d_{}/raw/annual report.pdf"
_SHA256 = "ab" * 32
_COUNT = 2_000
_HOURS, _MINUTES = 12, 60


def run(bench: Bench) -> Result:
    """Microseconds of processor time a URL; no server is asked, and no other work counts."""
    return asyncio.run(_measured(bench))


async def _measured(bench: Bench) -> Result:
    now = time.time()
    clients, clock = AzureClients(AzurePlace()), ServiceClock(lambda: now)
    keys = DelegationKeys(_key, clock)
    await keys.start()
    wire, signer = Wire(clients, _ACCOUNT, _CONTAINER, patience=1), Signer(_ACCOUNT, _CONTAINER)
    transfers = Transfers(wire, signer, clock, keys.current)
    figures = []
    for method, name in (("PUT", "an upload"), ("GET", "a download")):
        sides = {
            "sdk": _side(_theirs(keys.current().key, method)),
            "ours": _side(_ours(transfers, method)),
        }
        taken = interleave(bench.rounds, sides)
        figures.append(
            Figure(
                f"URL of {name}", "us", "generate_blob_sas, the query alone", taken["ours"],
                taken["sdk"], more_is_better=False, goal=Goal("value", at_most=150),
            )
        )
    await keys.close()
    await wire.close()
    await clients.close()
    fetched, signed = await _fetches()
    figures.append(
        Figure(
            f"keys asked for in {_HOURS} h, a URL a minute", "keys", "one for each URL",
            [fetched], [signed], more_is_better=False, goal=Goal("value", at_most=1),
        )
    )
    return Result(figures)


async def _fetches() -> tuple[float, float]:
    """(keys asked for, URLs signed) in half a day of a clock that only we move."""
    now, asked, signed = 1_700_000_000.0, 0, 0

    async def fetch(start: float, end: float) -> UserDelegationKey:
        nonlocal asked
        asked += 1
        return await _key(start, end)

    keys = DelegationKeys(fetch, ServiceClock(lambda: now))
    await keys.start()
    for _ in range(_HOURS * _MINUTES):
        keys.current()
        signed += 1
        for _turn in range(10):  # the task that asks for a key, if it wants to
            await asyncio.sleep(0)
        now += 60
    await keys.close()
    return asked, signed


async def _key(start: float, end: float) -> UserDelegationKey:
    made = UserDelegationKey()
    made.signed_oid = made.signed_tid = "00000000-0000-4000-8000-000000000001"
    made.signed_start, made.signed_expiry = _stamp(start), _stamp(end)
    made.signed_service, made.signed_version = "b", "2025-07-05"
    made.value = base64.b64encode(bytes(32)).decode()
    return made


def _stamp(at: float) -> str:
    return datetime.fromtimestamp(int(at), UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _ours(transfers: Transfers, method: str) -> Callable[[int], object]:
    upload = {"size": 1000, "sha256": _SHA256}
    more: dict[str, Any] = {"content_type": "application/pdf"}
    more |= upload if method == "PUT" else {"disposition": 'attachment; filename="report.pdf"'}

    def sign(number: int) -> object:
        return transfers.sign(SignRequest(method, _KEY.format(number), 900, **more))

    return sign


def _theirs(key: UserDelegationKey, method: str) -> Callable[[int], object]:
    """The same permission, times and headers of the answer; no URL, no checks."""
    now = time.time()
    answer = {
        "cache_control": "private, no-store", "content_encoding": "identity",
        "content_type": "application/pdf",
        "content_disposition": 'attachment; filename="report.pdf"',
    }  # fmt: skip
    more: dict[str, Any] = {} if method == "PUT" else answer

    def sign(number: int) -> object:
        return generate_blob_sas(
            _ACCOUNT, _CONTAINER, _KEY.format(number), user_delegation_key=key,
            permission="c" if method == "PUT" else "r", start=_stamp(now - 900),
            expiry=_stamp(now + 900), protocol="https", **more,
        )

    return sign


def _side(sign: Callable[[int], object]) -> Callable[[], float]:
    def measure() -> float:
        began = time.thread_time()
        for number in range(_COUNT):
            sign(number)
        return (time.thread_time() - began) / _COUNT * 1e6

    return measure
