"""base64url has exactly one text per value."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.model.base64url import decode, encode


@given(st.binary())
def test_round_trip(data: bytes) -> None:
    assert decode(encode(data)) == data


@given(st.text(alphabet="ABab-_+/= \n", max_size=8))
def test_what_decodes_has_no_other_spelling(text: str) -> None:
    try:
        data = decode(text)
    except ValueError:
        return
    assert encode(data) == text


@pytest.mark.parametrize("text", ["YQ==", "YR", "a", "+A", "/w", "Y Q", "é", "YQ\n"])
def test_second_spellings_are_refused(text: str) -> None:
    with pytest.raises(ValueError, match="not base64url"):
        decode(text)
