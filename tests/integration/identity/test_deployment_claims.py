"""Groups of the deployment identity are recorded, bounded, and grant nothing."""

from __future__ import annotations

from workspace.identity.v1.user_pb2 import User

from identity_svc.users.sign_in import record_claims
from services.rpc.context import Caller


def _user(*groups: str) -> User:
    user = User(deployment_claims=["old"])
    record_claims(user, Caller("u_1", "issuer", "subject", email="a@b.c", groups=groups))
    return user


def test_claims_replace_earlier_ones_sorted_and_once() -> None:
    assert list(_user("PlatformAdmin", "b", "a", "a", "").deployment_claims) == [
        "PlatformAdmin", "a", "b",
    ]


def test_two_hundred_groups_fit() -> None:
    user = _user(*(f"0b5c3c1e-0000-4000-8000-{n:012d}" for n in range(200)))
    assert len(user.deployment_claims) == 200
    assert not user.deployment_claims_incomplete


def test_too_many_or_too_long_claims_are_marked_as_incomplete() -> None:
    many = _user(*(f"g{n}" for n in range(257)))
    assert len(many.deployment_claims) == 256
    assert many.deployment_claims_incomplete
    long = _user("a", "b" * 257)
    assert list(long.deployment_claims) == ["a"]
    assert long.deployment_claims_incomplete
    large = _user(*(f"{n:0200d}" for n in range(100)))
    assert sum(map(len, large.deployment_claims)) <= 10 * 1024
    assert large.deployment_claims_incomplete
