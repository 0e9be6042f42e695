from __future__ import annotations

import base64

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.model.errors import Reason, WorkspaceError
from services.rpc.page_tokens import PageTokens, page_size
from tests.unit.rpc.interceptor_harness import ticket_class

Ticket = ticket_class()
TOKENS = PageTokens(b"k" * 32)
METHOD = "/t.Tickets/List"


def _refused(token: str, method: str = METHOD, caller: str = "u_1", request: object = None) -> None:
    with pytest.raises(WorkspaceError) as caught:
        TOKENS.open(method, caller, request or Ticket(name="a"), token)  # type: ignore[arg-type]
    assert caught.value.reason == Reason.ERROR_REASON_INVALID_PAGE_TOKEN
    assert caught.value.metadata == {"field": "page_token"}
    assert caught.value.__cause__ is None


@given(st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=200))
def test_a_position_comes_back(position: str) -> None:
    request = Ticket(name="a", labels={"x": "1", "y": "2"})
    token = TOKENS.issue(METHOD, "u_1", request, position)
    same = Ticket(name="a", labels={"y": "2", "x": "1"}, page_size=7, page_token=token)
    assert TOKENS.open(METHOD, "u_1", same, token) == position
    assert (same.page_size, same.page_token) == (7, token)


def test_a_long_position_is_deflated_and_one_that_cannot_be_opened_is_refused() -> None:
    position = '["PROJECT#p"]' * 400
    token = TOKENS.issue(METHOD, "u_1", Ticket(), position)
    assert len(token) <= 4096
    assert TOKENS.open(METHOD, "u_1", Ticket(), token) == position
    data = base64.urlsafe_b64decode(token + "=" * (-len(token) % 4))
    _refused(base64.urlsafe_b64encode(b"\x01" + data[1:]).rstrip(b"=").decode(), request=Ticket())
    with pytest.raises(ValueError):
        TOKENS.issue(METHOD, "u_1", Ticket(), "".join(chr(0x4E00 + n) for n in range(9000)))


def test_the_first_page_has_no_token() -> None:
    assert TOKENS.open(METHOD, "u_1", Ticket(), "") == ""
    with pytest.raises(ValueError):
        TOKENS.issue(METHOD, "u_1", Ticket(), "")
    with pytest.raises(ValueError):
        PageTokens(b"short")


def test_a_token_is_bound_to_caller_method_arguments_and_key() -> None:
    token = TOKENS.issue(METHOD, "u_1", Ticket(name="a"), "pos")
    assert TOKENS.open(METHOD, "u_1", Ticket(name="a"), token) == "pos"
    _refused(token, caller="u_2")
    _refused(token, caller="")
    _refused(token, method="/t.Tickets/Search")
    _refused(token, request=Ticket(name="b"))
    _refused(token, request=Ticket(name="a", tags=["x"]))
    _refused(PageTokens(b"j" * 32).issue(METHOD, "u_1", Ticket(name="a"), "pos"))


def test_moving_a_border_between_the_parts_does_not_help() -> None:
    token = TOKENS.issue("/m", "u_1", Ticket(name="a"), "pos")
    _refused(token, method="/mu", caller="_1")


def test_every_edited_byte_is_noticed() -> None:
    data = base64.urlsafe_b64decode(
        (token := TOKENS.issue(METHOD, "u_1", Ticket(name="a"), "pos")) + "=" * (-len(token) % 4)
    )
    for index in range(len(data)):
        edited = bytearray(data)
        edited[index] ^= 1
        _refused(base64.urlsafe_b64encode(edited).rstrip(b"=").decode())
    for length in range(1, len(data)):
        _refused(base64.urlsafe_b64encode(data[:length]).rstrip(b"=").decode())


@pytest.mark.parametrize("junk", ["a", "=", "====", "not base64!", "ü", "a\nb", "A" * 10_000, "+/"])
def test_junk_is_refused(junk: str) -> None:
    _refused(junk)


def test_a_token_has_one_spelling() -> None:
    token = TOKENS.issue(METHOD, "u_1", Ticket(name="a"), "po")
    for other in (token + "=", token + "\n", " " + token, token[:-1] + chr(ord(token[-1]) + 1)):
        _refused(other)


@pytest.mark.parametrize(
    ("asked", "expected"), [(0, 50), (1, 1), (500, 500), (501, 500), (2**31 - 1, 500)]
)
def test_page_size(asked: int, expected: int) -> None:
    assert page_size(Ticket(page_size=asked)) == expected


def test_a_negative_page_size_is_refused() -> None:
    with pytest.raises(WorkspaceError) as caught:
        page_size(Ticket(page_size=-1))
    assert caught.value.reason == Reason.ERROR_REASON_INVALID_FIELD
    assert caught.value.metadata == {"field": "page_size"}
