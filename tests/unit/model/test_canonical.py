"""Canonical JSON equals RFC 8785, on the fast path and off it."""

from __future__ import annotations

from typing import Any

import pytest
import rfc8785
from hypothesis import given
from hypothesis import strategies as st

from services.model.canonical import (
    canonical_json,
    canonical_object,
    content_digest,
    text_digest,
)

values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53) + 1, 2**53 - 1)
    | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)


@given(values)
def test_equals_the_reference_encoder(value: Any) -> None:
    assert canonical_json(value).encode() == rfc8785.dumps(value)


def test_member_names_sort_by_utf16_code_units() -> None:
    # U+1F600 (surrogates D83D DE00) sorts before U+FB33 in RFC 8785.
    assert canonical_json({"\ufb33": 1, "\U0001f600": 2}) == '{"\U0001f600":2,"\ufb33":1}'


@pytest.mark.parametrize("value", [float("nan"), float("inf"), 2**53 + 1])
def test_refuses_what_json_cannot_carry_exactly(value: Any) -> None:
    with pytest.raises(ValueError, match=r".+"):
        canonical_json({"x": value})


def test_digest_is_hex_sha256_and_ignores_member_order() -> None:
    digest = content_digest("project", False, {"a": 1, "b": "x"})
    assert digest == content_digest("project", False, {"b": "x", "a": 1})
    assert len(digest) == 64


def test_digest_depends_on_family_deletion_and_content() -> None:
    digest = content_digest("project", False, {"name": "A"})
    assert digest != content_digest("document", False, {"name": "A"})
    assert digest != content_digest("project", True, {"name": "A"})
    assert digest != content_digest("project", False, {"name": "B"})


@given(st.dictionaries(st.sampled_from("abcd"), values, max_size=4))
def test_texts_put_together_equal_the_whole(members: dict[str, Any]) -> None:
    texts = {name: canonical_json(value) for name, value in members.items()}
    assert canonical_object(texts) == canonical_json(members)
    assert text_digest("f", True, canonical_object(texts)) == content_digest("f", True, members)
