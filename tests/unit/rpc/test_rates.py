"""What counts for whom, on a clock of its own (the whole way: security/test_call_rates.py)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest

from services.model.errors import Reason, WorkspaceError
from services.rate_limits import RateLimiter
from services.rpc.context import Caller
from services.rpc.rates import CLIENT_HEADER, CallRates, host_of
from services.rpc.request_id import ServedCall

GATEWAY = "spiffe://workspace/gateway"
REFUSED = WorkspaceError(Reason.ERROR_REASON_UNAUTHENTICATED, "no")


class Clock:
    def __init__(self) -> None:
        self.seconds = 1000.0

    def __call__(self) -> float:
        return self.seconds


class Peer:
    """What `CallRates` asks a gRPC context for."""

    def __init__(self, peer: str = "ipv4:192.0.2.1:5000", **auth: list[bytes]) -> None:
        self._peer = peer
        self._auth: Mapping[str, list[bytes]] = auth

    def peer(self) -> str:
        return self._peer

    def auth_context(self) -> Mapping[str, list[bytes]]:
        return self._auth


def call(bearer: str = "", *, client: str = "", user: str = "", service: str = "") -> ServedCall:
    metadata = [("authorization", f"Bearer {bearer}")] if bearer else []
    metadata += [(CLIENT_HEADER, client)] if client else []
    made = ServedCall("r", "/t.T/T", 0.0, metadata=tuple(metadata), service=service)
    if user:
        made.caller, made.bearer = Caller(user, "https://issuer.test", "s"), bearer
    return made


def rates(clock: Clock, **limits: int) -> CallRates:
    return CallRates(proved=[GATEWAY], now=clock, **limits)


def fail(limits: CallRates, times: int, peer: Any, one: ServedCall | None = None) -> None:
    for _ in range(times):
        limits.note_refusal(REFUSED, one or call("bad"), peer)


def is_refused(limits: CallRates, one: ServedCall, peer: Any) -> bool:
    try:
        limits.require_address(one, peer)
    except WorkspaceError as error:
        return error.reason == Reason.ERROR_REASON_LIMIT_EXCEEDED
    return False


@pytest.mark.parametrize(
    ("peer", "host"),
    [
        ("ipv4:192.0.2.1:5000", "192.0.2.1"),
        ("ipv6:%5B2001:db8:1:2:3:4:5:6%5D:443", "2001:db8:1:2::/64"),
        ("ipv6:[2001:db8:1:2::9]:443", "2001:db8:1:2::/64"),
        ("ipv6:%5B::ffff:192.0.2.1%5D:443", "192.0.2.1"),
        ("ipv6:%5Bfe80::1%25eth0%5D:443", "fe80::/64"),
        ("unix:/run/wm.sock", "unix"),
        ("unix:", "unix"),
    ],
)
def test_an_address_is_a_host_and_of_ipv6_a_network(peer: str, host: str) -> None:
    assert host_of(peer) == host


@pytest.mark.case("A14")
def test_who_shares_an_address_with_an_attacker_goes_on() -> None:
    clock, attacker, victim = Clock(), call("bad"), call("good", user="u_1")
    limits = rates(clock, address_calls=60)
    limits.take_user(victim)
    fail(limits, 60, Peer())
    assert is_refused(limits, attacker, Peer())
    assert is_refused(limits, call(), Peer())
    assert not is_refused(limits, call("good"), Peer())
    assert not is_refused(limits, attacker, Peer("ipv4:192.0.2.2:5000"))


@pytest.mark.case("A14")
def test_a_new_token_gets_its_turn_while_the_attack_goes_on() -> None:
    clock = Clock()
    limits = rates(clock, address_calls=60)
    fail(limits, 60, Peer())
    waited = 0
    while is_refused(limits, call("new"), Peer()):
        clock.seconds += 0.1
        waited += 1
        fail(limits, waited % 20 == 0, Peer())
    assert waited <= 11


def test_nobody_owes_anything_a_minute_later() -> None:
    clock = Clock()
    limits = rates(clock, address_calls=60)
    fail(limits, 60, Peer())
    clock.seconds += 60
    assert not is_refused(limits, call("bad"), Peer())


@pytest.mark.parametrize(
    "error",
    [
        WorkspaceError(Reason.ERROR_REASON_BACKEND_UNAVAILABLE, "a key set is away"),
        WorkspaceError(Reason.ERROR_REASON_INVALID_STATE, "not normalised"),
    ],
)
def test_what_is_not_the_clients_fault_does_not_count(error: WorkspaceError) -> None:
    limits = rates(Clock(), address_calls=1)
    limits.note_refusal(error, call("x"), Peer())
    limits.note_refusal(REFUSED, call("x", user="u_1"), Peer())  # known: not of the address
    limits.note_refusal(REFUSED, call("x", service="project_svc"), Peer())
    assert not is_refused(limits, call("x"), Peer())


@pytest.mark.parametrize(
    ("peer", "counts_for"),
    [
        (Peer(transport_security_type=[b"ssl"], peer_uri=[GATEWAY.encode()]), "198.51.100.7"),
        (Peer(transport_security_type=[b"local"]), "198.51.100.7"),
        (Peer(transport_security_type=[b"ssl"], peer_uri=[b"spiffe://else/gateway"]), "192.0.2.1"),
        (Peer(transport_security_type=[b"ssl"]), "192.0.2.1"),
        (Peer(transport_security_type=[b"insecure"]), "192.0.2.1"),
    ],
    ids=["gateway", "this process", "other domain", "no certificate", "no TLS"],
)
def test_only_a_gateway_of_ours_says_for_which_address_it_asks(peer: Peer, counts_for: str) -> None:
    limits = rates(Clock(), address_calls=1)
    fail(limits, 1, peer, call("bad", client="198.51.100.7"))
    for host in ("198.51.100.7", "192.0.2.1"):
        assert is_refused(limits, call("bad"), Peer(f"ipv4:{host}:1")) is (host == counts_for)


def test_peers_that_ask_for_themselves_have_no_address() -> None:
    limits = rates(Clock(), address_calls=1)
    fail(limits, 9, Peer(transport_security_type=[b"local"]))
    assert not is_refused(limits, call("bad"), Peer(transport_security_type=[b"local"]))


def test_what_a_service_calls_for_a_user_is_not_counted_again() -> None:
    limits = rates(Clock(), user_calls=1)
    limits.take_user(call("t", user="u_1"))
    for _ in range(5):
        limits.take_user(call("t", user="u_1", service="project_svc"))
    with pytest.raises(WorkspaceError):
        limits.take_user(call("t", user="u_1"))
    limits.take_user(call("t", user="u_2"))


def test_zero_is_no_limit() -> None:
    limits = rates(Clock())
    assert not limits.counts
    fail(limits, 99, Peer())
    limits.take_address(call(), Peer())  # type: ignore[arg-type]
    limits.take_user(call("t", user="u_1"))


@pytest.fixture
def spent() -> RateLimiter:
    limiter = RateLimiter("tries", maximum=10, period=60, now=Clock())
    for _ in range(10):
        limiter.take("attacker")
    return limiter


@pytest.mark.case("A13")
def test_other_names_do_not_give_an_attacker_his_calls_back(spent: RateLimiter) -> None:
    for number in range(25_000):
        spent.take(f"other{number}")
    with pytest.raises(WorkspaceError):
        spent.require("attacker")
