"""The query of a signed URL: a user delegation SAS for one blob and one permission.

The SDK signs: with a key that is held it takes less than 150 microseconds a URL.
Source: Microsoft Learn, "Create a user delegation SAS".
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

from azure.storage.blob import generate_blob_sas

from services.objects.azure_blob.delegation_key import (
    BACKDATED_SECONDS,
    MARGIN_SECONDS,
    HeldKey,
)
from services.objects.port import StoreUnavailable

__all__ = ["CREATE", "MAX_URL_SECONDS", "READ", "WRITE", "Signer"]

MAX_URL_SECONDS = 12 * 3600
"""What a key is always good for when it is renewed in time."""
READ, CREATE, WRITE = "r", "c", "w"
_USEFUL_SECONDS = 60


class Signer:
    """For the blobs of one container."""

    def __init__(self, account: str, container: str) -> None:
        self._account = account
        self._container = container

    def query(
        self, held: HeldKey, key: str, permission: str, seconds: int, now: float,
        answer: Mapping[str, str] | None = None,
    ) -> tuple[str, int]:
        """(query, end in unix seconds) at `now`, both of the service. `answer`: the headers
        of the answer that are replaced, by keywords of the SDK. Raises StoreUnavailable
        where the key ends too soon."""
        end = min(int(now) + min(seconds, MAX_URL_SECONDS), int(held.end) - MARGIN_SECONDS)
        if end - now < min(seconds, _USEFUL_SECONDS) - 1:
            raise StoreUnavailable("the key to sign with ends too soon: repeat later")
        start = max(int(now) - BACKDATED_SECONDS, int(held.start))
        more: dict[str, Any] = dict(answer or {})
        query = generate_blob_sas(
            self._account, self._container, key, user_delegation_key=held.key,
            permission=permission, start=_stamp(start), expiry=_stamp(end), protocol="https",
            **more,
        )  # fmt: skip
        return query, end


def _stamp(at: int) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(at))
