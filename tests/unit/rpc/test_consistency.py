from __future__ import annotations

import base64

import pytest
from hypothesis import given
from hypothesis import strategies as st
from workspace.common.v1.consistency_pb2 import Consistency

from services.model.errors import Reason, WorkspaceError
from services.rpc.consistency import (
    MINIMIZE_LATENCY,
    STRONG,
    ConsistencyToken,
    ConsistencyTokens,
    Level,
)

KEY = b"k" * 32
TOKENS = ConsistencyTokens(KEY, "instance-1")


def _foreign(token: str, tokens: ConsistencyTokens = TOKENS) -> None:
    with pytest.raises(WorkspaceError) as caught:
        tokens.verify(token)
    assert caught.value.reason == Reason.ERROR_REASON_FOREIGN_CONSISTENCY_TOKEN
    assert caught.value.metadata == {"field": "consistency"}


@given(
    st.text(st.characters(exclude_categories=["Cs"]), max_size=80),
    st.integers(0, 2**64 - 1),
    st.integers(0, 2**64 - 1),
)
def test_a_token_comes_back(pk: str, pseq: int, time_ms: int) -> None:
    token = TOKENS.issue(pk, pseq, time_ms)
    assert TOKENS.verify(token) == ConsistencyToken(pk, pseq, time_ms)
    assert 1 <= len(token) <= 512


def test_a_token_of_another_instance_or_key_is_foreign() -> None:
    token = TOKENS.issue("PROJECT#p", 7, 1000)
    _foreign(token, ConsistencyTokens(KEY, "instance-2"))
    _foreign(token, ConsistencyTokens(b"j" * 32, "instance-1"))


def test_every_edited_byte_is_noticed() -> None:
    token = TOKENS.issue("PROJECT#p", 7, 1000)
    data = base64.urlsafe_b64decode(token + "=" * (-len(token) % 4))
    for index in range(len(data)):
        edited = bytearray(data)
        edited[index] ^= 1
        _foreign(base64.urlsafe_b64encode(edited).rstrip(b"=").decode())
        _foreign(base64.urlsafe_b64encode(data[:index]).rstrip(b"=").decode())


@pytest.mark.parametrize("junk", ["", "a", "====", "not base64!", "ü", "A" * 600])
def test_junk_is_foreign(junk: str) -> None:
    _foreign(junk)


def test_what_cannot_be_a_token_is_refused_early() -> None:
    with pytest.raises(ValueError, match="too long"):
        TOKENS.issue("p" * 500, 1, 1)
    with pytest.raises(ValueError):
        ConsistencyTokens(b"short", "instance-1")
    with pytest.raises(ValueError):
        ConsistencyTokens(KEY, "")


def test_a_request_says_what_it_demands() -> None:
    token = TOKENS.issue("PROJECT#p", 7, 1_000)
    assert TOKENS.demand(Consistency()) is MINIMIZE_LATENCY
    assert TOKENS.demand(Consistency(minimize_latency=True)) is MINIMIZE_LATENCY
    assert TOKENS.demand(Consistency(fully_consistent=True)) is STRONG
    assert TOKENS.demand(Consistency(fully_consistent=False)) is MINIMIZE_LATENCY
    asked = TOKENS.demand(Consistency(at_least_as_fresh={"tokens": [token, token]}))
    assert asked.level is Level.AT_LEAST_AS_FRESH
    assert asked.tokens == (ConsistencyToken("PROJECT#p", 7, 1_000),) * 2
    with pytest.raises(WorkspaceError) as refused:
        TOKENS.demand(Consistency(at_least_as_fresh={"tokens": [token, token + "A"]}))
    assert refused.value.reason == Reason.ERROR_REASON_FOREIGN_CONSISTENCY_TOKEN
