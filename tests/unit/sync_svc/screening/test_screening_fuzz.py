"""No bytes make screening raise."""

from __future__ import annotations

import json
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from services.model.canonical import content_digest
from services.model.families import FAMILIES
from services.records.codec import content_of, dump
from services.records.port import Item, Key
from services.records.siblings import Rows, sibling_key
from sync_svc.engine.refusal import Refusal
from tests.unit.sync_svc.screening.made import (
    document,
    event,
    project,
    rows,
    screened,
    with_item,
    with_stamp,
)

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(
        st.sampled_from(["a", "c", "d", "v", "f", "h", "g", "s", "x", "name", "project_id", "file"])
        | st.text(max_size=8),
        inner,
        max_size=6,
    ),
    max_leaves=20,
)
TEXTS = JSON.map(json.dumps) | st.text(max_size=50) | st.just("[" * 100_000)
BASES = [
    rows("project", project()), rows("document", document()), event(),
    rows("project", project(), deleted=True),
]
STAMP = ["a", "c", "d", "v", "f", "h", "g", "x", "o", "e", "s", "p"]


def judged(given_rows: Rows) -> None:
    found = screened(given_rows)
    assert found is None or isinstance(found, Refusal)
    if found is None:
        assert given_rows.state is not None


@settings(max_examples=150, deadline=None)
@given(TEXTS, TEXTS, st.sampled_from(["project", "document", "activity_event", "sibling", "?"]))
def test_random_texts(body: str, stamp: str, family: str) -> None:
    key = Key("PROJECT#p_1", "PROJECT#p_1")
    judged(Rows(key, Item(key, "t", family, body, stamp)))


@settings(max_examples=200, deadline=None)
@given(st.sampled_from(BASES), st.sampled_from(STAMP), JSON)
def test_a_stamp_with_one_random_member(base: Rows, name: str, value: Any) -> None:
    assert base.item is not None
    stamp = json.dumps(json.loads(base.item.stamp) | {name: value})
    judged(Rows(base.key, Item(base.key, "t", base.item.family, base.item.body, stamp)))


@settings(max_examples=200, deadline=None)
@given(
    st.sampled_from(BASES[:3]),
    st.sampled_from(["name", "file", "status", "created_at", "changes", "links", "project_id"]),
    JSON,
)
def test_a_body_with_one_random_member_and_its_digest(base: Rows, name: str, value: Any) -> None:
    assert base.item is not None
    members = json.loads(base.item.body) | {name: value}
    kind = FAMILIES[base.item.family]
    try:
        body = dump(members)
        digest = content_digest(kind.name, False, content_of(kind, members))
    except ValueError:
        return  # has no canonical text, so no digest that could be right
    judged(with_stamp(with_item(base, body=body), digest=digest))


@settings(max_examples=80, deadline=None)
@given(TEXTS, TEXTS)
def test_versions_beside_the_row(body: str, stamp: str) -> None:
    base = rows("project", project())
    assert base.item is not None
    mine = json.loads(base.item.stamp) | {"s": [[0, 1]]}
    key = sibling_key(base.key, ("npeer.life1", 1))
    item = Item(base.key, "t", "project", base.item.body, json.dumps(mine))
    judged(Rows(base.key, item, {key: Item(key, "t", "sibling", body, stamp)}))
