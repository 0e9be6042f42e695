"""The account refuses no URL of ours: none lives longer than the setup lets any."""

from __future__ import annotations

import re
from datetime import datetime
from urllib.parse import parse_qs

import pytest

from services.azure.setup.desired import SAS_PERIOD
from services.objects.azure_blob.delegation_key import HeldKey
from services.objects.azure_blob.driver import _SOURCE_SECONDS
from services.objects.azure_blob.signing import CREATE, READ, WRITE, Signer
from services.objects.tokens import max_seconds
from tests.unit.objects.azure_blob.test_azure_delegation_keys import BEGIN, key_of

HELD = HeldKey(key_of(BEGIN - 900, BEGIN + 90_000), BEGIN - 900, BEGIN + 90_000, BEGIN + 43_200)
OURS = {
    "upload": (CREATE, max_seconds("PUT")), "part": (WRITE, max_seconds("PUT")),
    "download": (READ, max_seconds("GET")), "copy": (READ, _SOURCE_SECONDS),
}  # fmt: skip


def allowed() -> float:
    days, hours, minutes, seconds = map(int, re.split(r"[.:]", SAS_PERIOD))
    return ((days * 24 + hours) * 60 + minutes) * 60 + seconds


def life(permission: str, seconds: int, now: float) -> float:
    """As Azure counts it: from the signed start, which it wants, to the signed end."""
    query, _ = Signer("account", "container").query(HELD, "key", permission, seconds, now)
    begin, end = (
        datetime.fromisoformat(value[0]).timestamp()
        for name, value in sorted(parse_qs(query).items(), key=lambda each: each[0] != "st")
        if name in ("st", "se")
    )
    return end - begin


@pytest.mark.parametrize("use", OURS)
@pytest.mark.parametrize("now", [BEGIN, BEGIN + 0.999, BEGIN + 5000.5])
def test_what_we_sign_is_within_the_limit_of_the_account(use: str, now: float) -> None:
    assert 0 < life(*OURS[use], now) <= allowed()


def test_the_limit_is_no_wider_than_needed() -> None:
    assert max(life(*each, BEGIN + 5000.5) for each in OURS.values()) == allowed()
