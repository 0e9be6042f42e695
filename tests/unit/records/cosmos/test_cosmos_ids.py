"""Ids of documents: legal everywhere, different for different keys, and reversible."""

from __future__ import annotations

import re
from urllib.parse import quote

import pytest
from azure.cosmos._base import _VALID_COSMOS_RESOURCE
from hypothesis import example, given
from hypothesis import strategies as st
from yarl import URL

from services.records.cosmos.ids import MAX_ID_BYTES, id_of, sort_key_of

PRINTABLE = "".join(map(chr, range(0x20, 0x7F)))
KEYS = st.text(PRINTABLE, min_size=1, max_size=512) | st.text("~/\\#?%. a2F", min_size=1)
LONG = st.text("#/a", min_size=340, max_size=512)


def is_legal(document_id: str) -> bool:
    return (
        re.fullmatch(r"[A-Za-z0-9_.~-]{1,1023}", document_id) is not None
        and not document_id.startswith(".")
        and re.match(_VALID_COSMOS_RESOURCE, document_id) is not None
    )


@pytest.mark.case("K24")
@given(KEYS | LONG)
@example("~")
@example("~~")
@example("~7E")
@example("..")
@example("a ")
@example("#" * 512)
def test_an_id_is_legal_and_urls_leave_it_as_it_is(sk: str) -> None:
    made = id_of(sk)
    assert is_legal(made)
    assert quote(made) == made
    assert URL(f"https://h/dbs/d/colls/c/docs/{made}").raw_path.endswith(f"/docs/{made}")


@given(KEYS | LONG)
@example("~7E")
@example("~~" + "0" * 64)
def test_an_id_has_its_sort_key_unless_it_is_too_long(sk: str) -> None:
    escaped = sum(1 if re.match(r"[A-Za-z0-9_.-]", char) else 3 for char in sk)
    escaped += 2 * sk.startswith(".")
    assert sort_key_of(id_of(sk)) == (sk if escaped <= MAX_ID_BYTES else None)


@pytest.mark.case("K24")
@given(st.lists(KEYS | LONG, min_size=2, max_size=20, unique=True))
@example(["#" * 511 + "a", "#" * 511 + "b", "#" * 512])
@example(["~23", "#", "~2323", "##"])
def test_different_keys_have_different_ids(keys: list[str]) -> None:
    assert len({id_of(sk) for sk in keys}) == len(keys)


@pytest.mark.case("K24")
@given(LONG)
def test_no_escaped_id_looks_like_a_shortened_one(sk: str) -> None:
    shortened = id_of("#" * 500 + sk[:12])
    again = id_of(shortened[:300])  # what a caller makes of it
    assert "~~" in shortened
    assert "~~" not in again


def test_nothing_has_no_id() -> None:
    with pytest.raises(ValueError, match="one character"):
        id_of("")
