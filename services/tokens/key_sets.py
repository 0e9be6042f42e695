"""The key set of a remote issuer: OpenID Connect Discovery 1.0 section 4, RFC 7517,
or at a URL that is known beforehand.

Cached an hour and served stale for a day while the issuer is down; an unknown
`kid` makes it be read again at most once per 30 s; one read at a time. A set
that cannot be used never replaces a good one, and a clock that is set back makes
none younger.
"""

from __future__ import annotations

import asyncio
import ipaddress
import logging
import math
import ssl
import time
from collections.abc import Callable, Mapping
from functools import partial
from typing import Final
from urllib.parse import urlsplit

import httpx

from services.elapsed import Elapsed, Moment
from services.model.errors import Reason, WorkspaceError
from services.tokens.claims import TokenRefusedError
from services.tokens.compact import parse_json
from services.tokens.signature_keys import KeySetError, parse_key_set
from services.tokens.verifier import VerificationKey

__all__ = ["MAX_DOCUMENT_BYTES", "RemoteKeySet"]

FRESH_SECONDS: Final = 3600.0
STALE_SECONDS: Final = 24 * 3600.0
REFETCH_SECONDS: Final = 30.0
FIRST_RETRY_SECONDS: Final = 5.0
"""Wait after a failure as long as no set was ever loaded."""
MAX_DOCUMENT_BYTES: Final = 64 * 1024
_READ_SECONDS: Final = 5.0
_CONNECT_SECONDS: Final = 3.0
_DISCOVERY: Final = "/.well-known/openid-configuration"
_log = logging.getLogger("workspace.tokens")


class RemoteKeySet:
    """Keys of one issuer, found through its discovery document, or at `keys_url`
    without one. `now` is unix seconds; `tls` verifies the server's certificate.

    `allow_loopback_http` is for issuers of tests on this machine; of all settings
    only `cognito_endpoint` and `entra_endpoint` turn it on. `key_issuers`: see
    `parse_key_set`.
    """

    def __init__(
        self,
        issuer: str,
        algorithm: str,
        *,
        now: Callable[[], float],
        tls: ssl.SSLContext | None = None,
        keys_url: str = "",
        allow_loopback_http: bool = False,
        key_issuers: frozenset[str] = frozenset(),
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._allow_http = allow_loopback_http
        self._check_url(issuer)
        if keys_url:
            self._check_url(keys_url)
        self._known_url = keys_url
        self._issuer = issuer
        self._parse = partial(parse_key_set, algorithm=algorithm, issuers=key_issuers)
        self._elapsed = Elapsed(now, monotonic=monotonic)
        self._tls = tls or ssl.create_default_context()
        self._keys: Mapping[str, VerificationKey] | None = None
        self._read_at: Moment | None = None
        self._tried_at: Moment | None = None
        self._failing = False
        self._reading: asyncio.Task[None] | None = None

    async def key(self, kid: str) -> VerificationKey | None:
        """The key; None for a `kid` that this issuer does not have now. Raises
        BACKEND_UNAVAILABLE when no set can be used."""
        keys = await self._current()
        if kid not in keys and self._may_read():
            await self._read_again()
        return (self._keys or {}).get(kid)

    async def _current(self) -> Mapping[str, VerificationKey]:
        age = self._since(self._read_at)
        if self._keys is not None and age < FRESH_SECONDS:
            return self._keys
        reading = self._read_again() if self._may_read() else self._reading
        usable = self._keys is not None and age <= STALE_SECONDS
        # In a known outage nobody waits for the next try.
        if reading is not None and not (usable and self._failing):
            await asyncio.shield(reading)
        if self._keys is None or self._since(self._read_at) > STALE_SECONDS:
            raise _unavailable(self._issuer)
        return self._keys

    def _may_read(self) -> bool:
        wait = FIRST_RETRY_SECONDS if self._keys is None else REFETCH_SECONDS
        return self._reading is not None or self._since(self._tried_at) >= wait

    def _since(self, moment: Moment | None) -> float:
        return math.inf if moment is None else self._elapsed.since(moment)

    def _read_again(self) -> asyncio.Task[None]:
        """The read that is under way, or a new one: never two at once."""
        if self._reading is None:
            self._tried_at = self._elapsed.moment()
            self._reading = asyncio.ensure_future(self._read())
            self._reading.add_done_callback(self._done)
        return self._reading

    def _done(self, _: asyncio.Task[None]) -> None:
        self._reading = None

    async def _read(self) -> None:
        began = self._elapsed.moment()
        try:
            async with asyncio.timeout(_READ_SECONDS):
                body = await self._download()
            keys = await asyncio.to_thread(self._parse, body)
        except (httpx.HTTPError, httpx.InvalidURL, KeySetError, OSError, TimeoutError) as error:
            self._failing = True
            _log.warning(
                "the keys of an issuer cannot be read",
                extra={"issuer": self._issuer, "error": f"{type(error).__name__}: {error}"},
            )
            return
        self._keys, self._read_at, self._failing = keys, began, False

    async def _download(self) -> bytes:
        """The key set; where its URL is not known, the discovery document names it."""
        timeout = httpx.Timeout(_CONNECT_SECONDS)
        async with httpx.AsyncClient(
            verify=self._tls, timeout=timeout, follow_redirects=False, trust_env=False
        ) as client:
            if self._known_url:
                return await _get(client, self._known_url)
            document = await _get(client, self._issuer.rstrip("/") + _DISCOVERY)
            return await _get(client, self._keys_url(document))

    def _keys_url(self, document: bytes) -> str:
        try:
            members = parse_json(document)
        except TokenRefusedError:
            raise KeySetError("the discovery document is not a JSON object") from None
        if members.get("issuer") != self._issuer:
            raise KeySetError("the discovery document is of another issuer")
        url = members.get("jwks_uri")
        if not isinstance(url, str):
            raise KeySetError("the discovery document names no `jwks_uri`")
        try:
            self._check_url(url)
        except ValueError as error:
            raise KeySetError(f"jwks_uri {error}") from None
        return url

    def _check_url(self, url: str) -> None:
        parts = urlsplit(url)
        host = parts.hostname or ""
        plain = parts.scheme == "http" and self._allow_http and _is_loopback(host)
        if not host or not (parts.scheme == "https" or plain):
            raise ValueError("must be an https URL")
        if parts.username or parts.password or parts.fragment:
            raise ValueError("must have no user, password or fragment")


async def _get(client: httpx.AsyncClient, url: str) -> bytes:
    """The body of a 200 of at most 64 KiB; nothing else is read to its end."""
    headers = {"accept": "application/json", "accept-encoding": "identity"}
    async with client.stream("GET", url, headers=headers) as answer:
        if answer.status_code != httpx.codes.OK:
            raise KeySetError(f"the issuer answered {answer.status_code}")
        if answer.headers.get("content-encoding", "identity") != "identity":
            raise KeySetError("the issuer answered compressed")
        body = bytearray()
        async for chunk in answer.aiter_raw():
            body += chunk
            if len(body) > MAX_DOCUMENT_BYTES:
                raise KeySetError(f"the issuer answered more than {MAX_DOCUMENT_BYTES} bytes")
        return bytes(body)


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _unavailable(issuer: str) -> WorkspaceError:
    return WorkspaceError(
        Reason.ERROR_REASON_BACKEND_UNAVAILABLE,
        "the keys of the sign-in provider cannot be read now; repeat the call",
        metadata={"backend": issuer},
        retry_after=FIRST_RETRY_SECONDS,
    )
