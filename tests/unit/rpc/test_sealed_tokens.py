"""Sealed page tokens lead on like others and tell nothing."""

from __future__ import annotations

import pytest
from workspace.project.v1.grant_service_pb2 import ListGrantsRequest

from services.model import base64url
from services.model.errors import WorkspaceError
from services.rpc.page_tokens import PageTokens
from services.rpc.sealed_tokens import SealedPageTokens

KEY = b"k" * 32
REQUEST = ListGrantsRequest(project_id="p_1")
POSITION = "u_hidden"


def test_a_position_comes_back() -> None:
    tokens = SealedPageTokens(KEY)
    for position in (POSITION, "x", "ü" * 500):
        token = tokens.issue("/m", "u_1", REQUEST, position)
        assert len(token) <= 4096
        assert SealedPageTokens(KEY).open("/m", "u_1", REQUEST, token) == position
    assert tokens.open("/m", "u_1", REQUEST, "") == ""
    with pytest.raises(ValueError, match="needs a position"):
        tokens.issue("/m", "u_1", REQUEST, "")


def test_the_token_does_not_hold_the_position() -> None:
    sealed = SealedPageTokens(KEY).issue("/m", "u_1", REQUEST, POSITION)
    plain = PageTokens(KEY).issue("/m", "u_1", REQUEST, POSITION)
    assert POSITION.encode() in base64url.decode(plain), "what sealing is for"
    assert POSITION.encode() not in base64url.decode(sealed)
    again = SealedPageTokens(KEY).issue("/m", "u_1", REQUEST, POSITION)
    assert again != sealed, "equal positions are not recognised"


@pytest.mark.parametrize(
    ("method", "caller", "project"),
    [("/other", "u_1", "p_1"), ("/m", "u_2", "p_1"), ("/m", "u_1", "p_2")],
)
def test_it_is_bound_like_any_page_token(method: str, caller: str, project: str) -> None:
    tokens = SealedPageTokens(KEY)
    token = tokens.issue("/m", "u_1", REQUEST, POSITION)
    with pytest.raises(WorkspaceError, match="page_token"):
        tokens.open(method, caller, ListGrantsRequest(project_id=project), token)


def test_a_changed_token_is_refused() -> None:
    tokens = SealedPageTokens(KEY)
    raw = bytearray(base64url.decode(tokens.issue("/m", "u_1", REQUEST, POSITION)))
    for at in range(0, len(raw), 7):
        changed = bytes(raw[:at]) + bytes([raw[at] ^ 1]) + bytes(raw[at + 1 :])
        with pytest.raises(WorkspaceError, match="page_token"):
            tokens.open("/m", "u_1", REQUEST, base64url.encode(changed))


def test_a_token_from_before_positions_were_sealed_is_refused() -> None:
    plain = PageTokens(KEY).issue("/m", "u_1", REQUEST, POSITION)
    with pytest.raises(WorkspaceError, match="page_token"):
        SealedPageTokens(KEY).open("/m", "u_1", REQUEST, plain)


def test_a_long_position_is_deflated_before_it_is_sealed() -> None:
    position = '["PROJECT#p"]' * 400
    tokens = SealedPageTokens(KEY)
    token = tokens.issue("/m", "u_1", REQUEST, position)
    assert len(token) <= 4096
    assert tokens.open("/m", "u_1", REQUEST, token) == position
