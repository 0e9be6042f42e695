"""Rows, tokens and ranges of Cosmos DB keep what the port promises about bytes and order."""

from __future__ import annotations

import json

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from services.model.errors import WorkspaceError
from services.records.cosmos.bounds import bounds_of, scan_bounds
from services.records.cosmos.codec import (
    document_of,
    index_text,
    item_of,
    key_text,
    token_of,
    version_of,
    visible,
)
from services.records.cosmos.schema import index_property
from services.records.port import ABSENT, Index, Key, Put
from services.records.port_texts import page_position

WORDS = st.text("ab #~!z", min_size=1, max_size=4)
PLACES = st.tuples(WORDS, WORDS, WORDS)


@given(st.text(), st.text(), st.booleans(), st.none() | st.integers(1, 4_000_000_000))
@example('{"a":"it\'s `so` \\\\ \\"x\\""}', "", False, None)
def test_texts_come_back_byte_for_byte(
    body: str, stamp: str, deleted: bool, expires_at: int | None
) -> None:
    put = Put(
        Key("P", "S"), ABSENT, "f", body, stamp, deleted, expires_at, {Index.USER: ("U", "s")}
    )
    row = {**document_of(put, "r", 1000), "_etag": '"e"'}
    item = item_of(json.loads(json.dumps(row)))
    assert (item.key, item.family, item.body, item.stamp) == (put.key, "f", body, stamp)
    assert (item.deleted, item.expires_at, item.indexes) == (deleted, expires_at, put.indexes)
    assert version_of(item.token) is not None


def test_quotes_of_a_text_take_one_byte_each() -> None:
    body = json.dumps({f"k{n}": "v" for n in range(100)})
    row = document_of(Put(Key("P", "S"), ABSENT, "f", body), "r", 0)
    assert len(json.dumps(row["body"])) == len(body) + 2


@pytest.mark.parametrize(
    ("expires_at", "ttl"),
    [(1000, 86_400), (1060, 86_460), (10, 85_410), (-200_000, 1), (2**40, 2**31 - 1)],
)
def test_the_service_removes_a_row_a_day_after_it_expired(expires_at: int, ttl: int) -> None:
    put = Put(Key("P", "S"), ABSENT, "f", "{}", expires_at=expires_at)
    assert document_of(put, "r", 1000)["ttl"] == ttl


def test_a_row_without_expiry_stays() -> None:
    assert "ttl" not in document_of(Put(Key("P", "S"), ABSENT, "f", "{}"), "r", 1000)


@pytest.mark.parametrize(("now", "shown"), [(9, True), (10, False), (11, False)])
def test_an_expired_row_is_not_shown(now: int, shown: bool) -> None:
    row = document_of(Put(Key("P", "S"), ABSENT, "f", "{}", expires_at=10), "r", 0)
    assert (visible({**row, "_etag": '"e"'}, now) is not None) == shown
    assert visible(None, now) is None


@pytest.mark.parametrize("pair", [("a\x01", "b"), ("a", "\x01")])
def test_an_index_entry_cannot_hold_the_separator(pair: tuple[str, str]) -> None:
    with pytest.raises(WorkspaceError, match="printable"):
        document_of(Put(Key("P", "S"), ABSENT, "f", "{}", indexes={Index.TEAM: pair}), "r", 0)


@pytest.mark.parametrize("token", ["", "x", "@", '"e"', '""@', '"é"@', '"e"@x', '"e"@-1', "e@1"])
def test_what_is_no_token_names_no_version(token: str) -> None:
    assert version_of(token) is None


@given(st.none() | st.integers(0, 2**40))
def test_a_token_names_its_version(expires_at: int | None) -> None:
    found = version_of(token_of('"0000-@1"', expires_at))
    assert found is not None
    assert (found.etag, found.expires_at) == ('"0000-@1"', expires_at)


@given(st.lists(PLACES, unique=True))
def test_texts_have_the_order_of_their_parts(places: list[tuple[str, str, str]]) -> None:
    keys = [Key(pk, sk) for _, pk, sk in places]
    assert sorted(keys, key=key_text) == sorted(keys)
    in_order = sorted(places)
    assert sorted(places, key=lambda each: index_text("T", each[0], Key(*each[1:]))) == in_order


@given(
    st.lists(PLACES, unique=True), WORDS | st.just(""), st.none() | WORDS, st.booleans(),
    st.integers(0, 20), st.sampled_from([Index.BASE, Index.TEAM]),
)  # fmt: skip
def test_a_range_holds_what_the_port_asks_for(
    places: list[tuple[str, str, str]],
    lower: str,
    upper: str | None,
    descending: bool,
    at: int,
    index: Index,
) -> None:
    """Beyond any position, also one outside of the bounds."""
    if index is Index.BASE:
        places = [(sk, "P", sk) for sk in sorted({sk for _, _, sk in places})]
    partition = "P" if index is Index.BASE else "T"
    items = []
    for sort, pk, sk in places:
        entries = {} if index is Index.BASE else {index: ("T", sort)}
        row = document_of(Put(Key(pk, sk), ABSENT, "f", "{}", indexes=entries), "r", 0)
        items.append(({**row, "_etag": '"e"'}, (sort, pk, sk)))
    items.sort(key=lambda each: each[1], reverse=descending)
    after = items[at % len(items)] if items and at else None
    position = page_position(index, item_of(after[0])) if after else None
    bounds = bounds_of(index, partition, lower, upper, position, descending=descending)
    found = [place for row, place in items if _inside(bounds, row[index_property(index)])]
    expected = [
        place
        for _, place in items
        if place[0] >= lower
        and (upper is None or place[0] < upper)
        and (after is None or (place < after[1] if descending else place > after[1]))
    ]
    assert found == expected


def test_a_scan_begins_before_the_first_key_and_behind_any() -> None:
    assert _inside(scan_bounds(None), key_text(Key(" ", " ")))
    assert _inside(scan_bounds(None), key_text(Key("~" * 512, "~")))
    assert not _inside(scan_bounds(Key("P", "b")), key_text(Key("P", "b")))
    assert _inside(scan_bounds(Key("P", "b")), key_text(Key("P", "b ")))


def _inside(bounds: object, text: str) -> bool:
    low, high = bounds.low, bounds.high  # type: ignore[attr-defined]
    beyond = bounds.beyond  # type: ignore[attr-defined]
    return (text > low if beyond else text >= low) and text < high
