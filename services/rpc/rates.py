"""How many calls one user, and one address, may make: what is counted, and for whom.

A call counts once in a process, where it comes from a client: of a user when he is known
(machine tokens are their user's), of the address when nobody is, or when he was refused.
What a service calls for a user was counted before it and is never refused half way.

An address that has used up its calls is refused before its tokens are looked at, but for
those that were good a moment ago: who shares the address with an attacker goes on.
"""

from __future__ import annotations

import ipaddress
import time
from collections import OrderedDict
from collections.abc import Callable, Collection
from functools import lru_cache
from typing import Final
from urllib.parse import unquote

from services.model.errors import Reason, WorkspaceError
from services.rate_limits import RateLimiter
from services.rpc.context import Call, Caller
from services.rpc.headers import bearer_of
from services.rpc.request_id import ServedCall
from services.rpc.wrap import Context

__all__ = ["CLIENT_HEADER", "CallRates", "host_of"]

CLIENT_HEADER: Final = "x-workspace-client"
"""For which address a gateway asks. Believed of this process and of certificates of the
deployment; of others it means nothing."""
_PERIOD: Final = 60.0
_GOOD_TOKENS: Final = 10_000
_REFUSALS: Final = frozenset(
    {
        Reason.ERROR_REASON_UNAUTHENTICATED,
        Reason.ERROR_REASON_PERMISSION_DENIED,
        Reason.ERROR_REASON_USER_DISABLED,
    }
)


class CallRates:
    """The counts of a process. Calls a minute, 0: no limit. `proved` are the names in
    certificates of this deployment; `now` is in seconds."""

    def __init__(
        self,
        *,
        user_calls: int = 0,
        address_calls: int = 0,
        proved: Collection[str] = (),
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        self._users = _limiter("user_calls_per_minute", user_calls, now)
        self._addresses = _limiter("address_calls_per_minute", address_calls, now)
        self._proved = frozenset(name.encode() for name in proved)
        self._good: OrderedDict[int, None] = OrderedDict()

    @property
    def counts_addresses(self) -> bool:
        """Whether calls of addresses are counted."""
        return self._addresses is not None

    @property
    def counts(self) -> bool:
        """Whether anything is counted."""
        return self._addresses is not None or self._users is not None

    def require_address(self, call: ServedCall, context: Context) -> None:
        """Raises LIMIT_EXCEEDED when the client's address has used up its calls, and the
        token is none that was good lately. Counts nothing."""
        if self._addresses is None or self._addresses.is_idle():  # mostly so, and cheap
            return
        try:
            self._require(call, context)
        except WorkspaceError:
            if not self._was_good(call):
                raise

    def take_address(self, call: ServedCall, context: Context) -> None:
        """Count an anonymous call. Raises LIMIT_EXCEEDED."""
        client = self._client(call, context)
        if self._addresses is not None and client:
            self._addresses.take(client)

    def note_refusal(self, error: WorkspaceError, call: ServedCall, context: Context) -> None:
        """Count a call that ended with `error`, if that refused whoever it was."""
        if call.caller is not None or call.service or error.reason not in _REFUSALS:
            return
        client = self._client(call, context)
        if self._addresses is not None and client:
            self._addresses.count(client)

    def take_user(self, call: Call) -> None:
        """Count a call whose token was good. Raises LIMIT_EXCEEDED."""
        caller = call.caller
        if caller is None or call.service:
            return
        if self._addresses is not None:
            self._remember(hash(call.bearer))
        if self._users is not None:
            self._users.take(_name(caller))

    def _require(self, call: ServedCall, context: Context) -> None:
        client = self._client(call, context)
        if self._addresses is not None and client:
            self._addresses.require(client)

    def _client(self, call: ServedCall, context: Context) -> str:
        """The address that counts; '' for a peer that asks for itself."""
        auth = context.auth_context()
        transport = list(auth.get("transport_security_type", ()))
        ours = transport == [b"local"] or (
            transport == [b"ssl"] and not self._proved.isdisjoint(auth.get("peer_uri", ()))
        )
        if not ours:
            return host_of(context.peer())
        said = [value for key, value in call.metadata if key == CLIENT_HEADER]
        return network_of(said[0]) if len(said) == 1 and isinstance(said[0], str) else ""

    def _was_good(self, call: ServedCall) -> bool:
        try:
            return hash(bearer_of(call.metadata)) in self._good
        except WorkspaceError:
            return False

    def _remember(self, token: int) -> None:
        """A hash of this process's own, which nobody can aim at; who hits one by chance
        has his token looked at, no more."""
        self._good[token] = None
        self._good.move_to_end(token)
        if len(self._good) > _GOOD_TOKENS:
            self._good.popitem(last=False)


def host_of(peer: str) -> str:
    """The address in what gRPC calls a peer (`ipv4:192.0.2.1:5000`, `ipv6:%5B::1%5D:80`).
    Of IPv6 the network of 64 bits: everybody has so many addresses (RFC 6177)."""
    scheme, _, rest = peer.partition(":")
    return network_of(rest.rpartition(":")[0]) if scheme in ("ipv4", "ipv6") else scheme


@lru_cache(4096)
def network_of(host: str) -> str:
    """`192.0.2.1` as it is, `2001:db8::1` as `2001:db8::/64`; no address as it is."""
    try:
        address = ipaddress.ip_address(unquote(host).strip("[]").partition("%")[0])
    except ValueError:
        return host
    if isinstance(address, ipaddress.IPv4Address):
        return str(address)
    if address.ipv4_mapped is not None:
        return str(address.ipv4_mapped)
    return str(ipaddress.ip_network((address, 64), strict=False))


def _name(caller: Caller) -> str:
    return caller.user_id or f"{caller.issuer}\n{caller.subject}"


def _limiter(limit: str, maximum: int, now: Callable[[], float]) -> RateLimiter | None:
    return RateLimiter(limit, maximum=maximum, period=_PERIOD, now=now) if maximum else None
