"""SHA-256 of blobs that only we can have written.

Azure keeps no SHA-256, and who holds an upload URL may send any metadata along. So what we
verified is sealed: metadata with a MAC of a key that lies in the container, where no URL
leads. It is bound to the blob's name, its length and the moment of its creation, which the
service sets: put on other bytes later, under the same name, it is worth nothing.
An absent or strange seal means that the SHA-256 is not known, never that bytes are wrong.
"""

from __future__ import annotations

import hmac
import re
import secrets
from collections.abc import Callable
from email.utils import parsedate_to_datetime

from azure.storage.blob import ContentSettings

from services.objects.azure_blob.errors import Refused
from services.objects.azure_blob.wire import Headers, Wire

__all__ = ["KEY_BLOB", "Seals"]

KEY_BLOB = ".wm/seal-key"
_FIELD = "wmseal"
_SEAL = re.compile(r"1\.([0-9a-f]{64})\.([0-9]{1,12})\.([0-9a-f]{64})", re.ASCII)
_WINDOW = 120
"""Seconds between the seal and the creation of its blob."""


class Seals:
    """`now` gives the seconds of the service. Without a key nothing is sealed nor known."""

    def __init__(self, now: Callable[[], float]) -> None:
        self._now = now
        self._key = b""

    async def load(self, wire: Wire, *, make: bool) -> None:
        """The key of the container; `make` it where there is none. Raises Refused."""
        self._key = await _read(wire)
        if self._key or not make:
            return
        try:
            await wire.call(
                wire.blob(KEY_BLOB).upload_blob, secrets.token_bytes(32), overwrite=False,
                content_settings=ContentSettings(content_type="application/octet-stream"),
            )  # fmt: skip
        except Refused as refused:
            if not refused.taken:
                raise
        self._key = await _read(wire)

    def metadata(self, key: str, size: int, sha256: str) -> dict[str, str]:
        """What goes with a blob that is created now with these bytes."""
        if not self._key:
            return {}
        at = int(self._now())
        return {_FIELD: f"1.{sha256}.{at}.{self._mac(key, size, sha256, at)}"}

    def sha256(self, key: str, size: int, headers: Headers) -> str:
        """Of a blob, by its headers; '' where it is not known."""
        found = _SEAL.fullmatch(headers.get(f"x-ms-meta-{_FIELD}", ""))
        if not self._key or found is None:
            return ""
        sha256, at, mac = found.group(1), int(found.group(2)), found.group(3)
        if not hmac.compare_digest(mac, self._mac(key, size, sha256, at)):
            return ""
        return sha256 if abs(_created(headers) - at) <= _WINDOW else ""

    def _mac(self, key: str, size: int, sha256: str, at: int) -> str:
        text = f"{key}\n{size}\n{sha256}\n{at}"
        return hmac.digest(self._key, text.encode(), "sha256").hex()


async def _read(wire: Wire) -> bytes:
    async def read(**keywords: object) -> bytes:
        stream = await wire.blob(KEY_BLOB).download_blob(0, 64, **keywords)  # type: ignore[call-overload]
        return bytes(await stream.readall())

    try:
        found = await wire.call(read)
    except Refused as refused:
        if refused.absent:
            return b""
        raise
    return found if len(found) == 32 else b""


def _created(headers: Headers) -> float:
    try:
        return parsedate_to_datetime(headers.get("x-ms-creation-time", "")).timestamp()
    except (ValueError, TypeError):
        return 0.0
