"""HTTPS requests to addresses that users gave, without reaching our own network.

The name is resolved and every address it has is checked before each request;
the connection goes to the address that was checked, so a name that answers
something else the second time (DNS rebinding) leads nowhere. The certificate is
verified for the name. Redirects are not followed, proxies of the environment are
not used, connections are not shared, response bodies are not read. (OWASP SSRF
prevention; reliability.md S08.)
"""

from __future__ import annotations

import asyncio
import ipaddress
import socket
import ssl
from collections.abc import Awaitable, Callable, Mapping, Sequence
from pathlib import Path

import httpx

__all__ = ["AddressRefused", "Egress", "PostFailed", "resolve_name"]

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
Resolve = Callable[[str, int], Awaitable[Sequence[str]]]
"""Addresses of a name, as text. Raises OSError when it has none."""

_SECONDS = 10.0
_PORT = 443
# One text for a name without an address and for one inside of a network: who gives
# URLs must not learn from the answer which names our resolver knows.
_NOWHERE = "leads to no public address"
# All that is public of IPv6 (RFC 4291 2.4); what lies outside of it may lead to an
# IPv4 address inside: compatible, mapped and translated ones, NAT64.
_UNICAST = ipaddress.ip_network("2000::/3")
# Global by the registry, but an address of the platform, one that leads to an IPv4
# address inside, or of nobody: Azure's wire server, IETF assignments, 6to4 relays,
# 6to4, Teredo and its neighbours, documentation.
_SPECIAL = tuple(
    map(
        ipaddress.ip_network,
        (
            "168.63.129.16/32", "192.0.0.0/24", "192.88.99.0/24", "2002::/16", "2001::/23",
            "3fff::/20",
        ),
    )
)  # fmt: skip


class AddressRefused(Exception):
    """The URL leads where no request of ours may go. The text is for its owner."""


class PostFailed(Exception):
    """No answer: not resolved, not connected, not trusted, or too late."""


async def resolve_name(host: str, port: int) -> Sequence[str]:
    """The addresses of `host` by the resolver of this machine."""
    loop = asyncio.get_running_loop()
    found = await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return [str(sockaddr[0]) for *_, sockaddr in found]


class Egress:
    """See the module. `networks` are reachable though they are not public
    (CIDR), `ca_file` is trusted beside the public authorities, `seconds` is the
    time for a whole request."""

    def __init__(
        self,
        *,
        networks: Sequence[str] = (),
        ca_file: Path | None = None,
        resolve: Resolve = resolve_name,
        seconds: float = _SECONDS,
    ) -> None:
        self._networks = [ipaddress.ip_network(text) for text in networks]
        self._ca_file = ca_file
        self._resolve = resolve
        self._seconds = seconds
        self._tls: ssl.SSLContext | None = None

    async def check(self, url: str) -> Sequence[str]:
        """The addresses behind `url`, all of them allowed, IPv4 first.

        Raises AddressRefused, and PostFailed when the name has no address.
        """
        parsed = _parsed(url)
        try:
            async with asyncio.timeout(self._seconds):
                found = await self._resolve(parsed.raw_host.decode(), parsed.port or _PORT)
        except (OSError, TimeoutError, UnicodeError) as error:
            raise PostFailed(_NOWHERE) from error
        addresses = sorted({_address(text) for text in found}, key=lambda a: (a.version, a.packed))
        if not addresses:
            raise PostFailed(_NOWHERE)
        for address in addresses:
            if not self._may_reach(address):
                raise AddressRefused(_NOWHERE)
        return [str(address) for address in addresses]

    async def post(self, url: str, *, headers: Mapping[str, str], body: bytes) -> int:
        """Send `body` and answer the status code. Raises AddressRefused, PostFailed."""
        try:
            async with asyncio.timeout(self._seconds):
                return await self._post(url, headers, body)
        except TimeoutError as error:
            raise PostFailed("no answer in time") from error

    async def _post(self, url: str, headers: Mapping[str, str], body: bytes) -> int:
        addresses, parsed = await self.check(url), _parsed(url)
        failure: Exception | None = None
        for address in addresses:
            try:
                return await self._send(parsed, address, headers, body)
            except httpx.ConnectError as error:
                failure = error  # the next address may be reachable
            except httpx.HTTPError as error:
                raise PostFailed(type(error).__name__) from error
        raise PostFailed("ConnectError") from failure

    async def _send(
        self, url: httpx.URL, address: str, headers: Mapping[str, str], body: bytes
    ) -> int:
        client = httpx.AsyncClient(
            verify=self._context(), trust_env=False, follow_redirects=False, timeout=self._seconds
        )
        async with (
            client,
            client.stream(
                "POST",
                url.copy_with(host=address),
                content=body,
                headers={**headers, "Host": url.netloc.decode()},
                extensions={"sni_hostname": url.raw_host.decode()},
            ) as response,
        ):
            return response.status_code

    def _context(self) -> ssl.SSLContext:
        if self._tls is None:
            self._tls = httpx.create_ssl_context(trust_env=False)
            self._tls.minimum_version = ssl.TLSVersion.TLSv1_2
            if self._ca_file is not None:
                self._tls.load_verify_locations(self._ca_file)
        return self._tls

    def _may_reach(self, address: Address) -> bool:
        if any(address in network for network in self._networks):
            return True
        return (
            address.is_global
            and (address.version == 4 or address in _UNICAST)
            and not address.is_multicast
            and not any(address in network for network in _SPECIAL)
        )


def _parsed(url: str) -> httpx.URL:
    try:
        parsed = httpx.URL(url)
    except httpx.InvalidURL as error:
        raise AddressRefused("is not a URL") from error
    if parsed.scheme != "https" or not parsed.host:
        raise AddressRefused("must be an https URL with a host")
    if parsed.userinfo or parsed.fragment:
        raise AddressRefused("must have no user, password or fragment")
    return parsed


def _address(text: str) -> Address:
    """The address that is really meant; IPv4 inside of IPv6 is IPv4."""
    try:
        address = ipaddress.ip_address(text)
    except ValueError as error:
        raise AddressRefused(_NOWHERE) from error
    if isinstance(address, ipaddress.IPv6Address):
        if address.scope_id:
            raise AddressRefused(_NOWHERE)
        return address.ipv4_mapped or address
    return address
