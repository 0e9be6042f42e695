"""What erasure may have made of a text, and what it may not."""

from __future__ import annotations

import json
import random
from typing import Any

import pytest

from services.model.versions import Version
from services.records.erasure import Person, Scrubber
from sync_svc.engine.erasures import is_erased_text

ANN = Person.of("u_ann12345678", ["ann@example.com", "o'ann+x@example.com"])
GONE = ANN.address


def version(members: Any) -> Version:
    return Version(("n1.1", 1), {}, {}, "", "", json.dumps(members))


def believed(before: Any, after: Any) -> bool:
    return is_erased_text(version(before), version(after))


MENTIONS: list[Any] = [
    {"title": "Ask ann@example.com."},
    {"title": "ann@example.com"},
    {"title": "ann@example.com ann@example.com, o'ann+x@example.com;ANN@EXAMPLE.COM"},
    {"title": "<mailto:ann@example.com>|x=ann@example.com&y=bob@example.com"},
    {"user_id": ANN.user_id, "name": "Ann", "email": "ann@example.com", "last_seen_at": "2026"},
    {"changes": [{"before": {"user_id": ANN.user_id, "name": "Ann", "role": "X"}}]},
    {"type": "personal", "owner_user_id": ANN.user_id, "name": "Ann's place"},
    {"about": {"ann@example.com": 1, "other": ["ann@example.com", 2, None, True]}},
]


@pytest.mark.parametrize("members", MENTIONS, ids=range(len(MENTIONS)))
def test_all_that_erasure_does_is_believed(members: Any) -> None:
    after = Scrubber(ANN).scrub(members)
    assert after != members
    assert believed(members, after)
    assert not believed(after, members)


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ({"title": "a"}, {"title": "b"}),
        ({"title": "a"}, {}),
        ({}, {"title": "b"}),
        ({"title": "a"}, {"title": GONE}),
        ({"title": "pay ann@example.com"}, {"title": f"never pay {GONE}"}),
        ({"title": "ann@example.com owes 5"}, {"title": f"{GONE} owes 7"}),
        ({"title": "a long text with ann@example.com in it"}, {"title": GONE}),
        ({"title": "ann@example.com"}, {"title": ANN.pseudonym}),
        ({"name": "Bridge"}, {"name": ANN.pseudonym}),
        ({"user_id": "u_1", "name": "Ann"}, {"user_id": "u_1", "name": "Eve"}),
        ({"user_id": "u_1", "role": "X"}, {"user_id": "u_1"}),
        ({"user_id": "u_1", "name": "A"}, {"user_id": "u_2", "name": ANN.pseudonym}),
        ({"disabled_reason": "x"}, {}),
        ({"list": [1, 2]}, {"list": [1]}),
        ({"count": 1}, {"count": True}),
        ({"count": 1}, {"count": "1"}),
        ([], {}),
    ],
    ids=range(17),
)
def test_anything_else_is_not(before: Any, after: Any) -> None:
    assert not believed(before, after)


def test_texts_made_by_chance_are_believed_and_cost_little() -> None:
    seeded = random.Random(7)
    for _ in range(300):
        words = seeded.choices(["ann@example.com", "a", "@", "x@", " ", ",", "\n"], k=40)
        members = {"title": " ".join(words)}
        assert believed(members, Scrubber(ANN).scrub(members))
    hostile = {"title": "a" * 30_000 + "@" * 30_000}
    assert not believed(hostile, {"title": "a".join([GONE] * 1500)})
