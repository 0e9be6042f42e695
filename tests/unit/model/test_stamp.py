"""The stamp of a version: dots, field dots, digests."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.model.stamp import Stamp, etag_of, stamp_write

HLC = "1763690000123.00000"


def write(base: Stamp | None, before: dict[str, Any], after: dict[str, Any], **kw: Any) -> Stamp:
    given = {"digest": "d", "deleted": False, "actor": "n1.a", "hlc": HLC} | kw
    return stamp_write(base, before, after, **given)


def test_first_write_dots_every_field() -> None:
    stamp = write(None, {}, {"name": "A", "note": "x"})
    assert stamp.dot == ("n1.a", 1)
    assert stamp.clock == {"n1.a": 1} == stamp.vv
    assert stamp.fields == {"name": ("n1.a", 1), "note": ("n1.a", 1)}


def test_only_changed_fields_get_the_new_dot() -> None:
    first = write(None, {}, {"name": "A", "note": "x"})
    second = write(first, {"name": "A", "note": "x"}, {"name": "B", "note": "x"}, actor="n2.b")
    assert second.dot == ("n2.b", 1)
    assert second.clock == {"n1.a": 1, "n2.b": 1}
    assert second.fields == {"name": ("n2.b", 1), "note": ("n1.a", 1)}


def test_a_cleared_field_keeps_the_dot_of_who_cleared_it() -> None:
    first = write(None, {}, {"name": "A", "note": "x"})
    second = write(first, {"name": "A", "note": "x"}, {"name": "A"}, actor="n2.b")
    third = write(second, {"name": "A"}, {"name": "C"}, actor="n3.c")
    assert second.fields["note"] == third.fields["note"] == ("n2.b", 1)


def test_counter_goes_on_over_a_tombstone() -> None:
    first = write(None, {}, {"name": "A"})
    gone = write(first, {"name": "A"}, {}, deleted=True)
    again = write(gone, {}, {"name": "A"})
    assert [first.dot[1], gone.dot[1], again.dot[1]] == [1, 2, 3]
    assert gone.deleted
    assert not again.deleted


actors = st.sampled_from(["n1.a", "n2.b", "n3.c"])
bodies = st.dictionaries(st.sampled_from("abcd"), st.integers(0, 3), max_size=4)


@given(st.lists(st.tuples(actors, bodies, st.booleans()), min_size=1, max_size=8))
def test_any_history_round_trips_and_only_grows(history: list[Any]) -> None:
    stamp: Stamp | None = None
    before: dict[str, Any] = {}
    for actor, after, deleted in history:
        after = {} if deleted else after
        following = write(stamp, before, after, actor=actor, deleted=deleted)
        assert Stamp.load(following.dump()) == following
        assert following.clock[actor] == (stamp.clock.get(actor, 0) if stamp else 0) + 1
        for name, dot in following.fields.items():
            assert following.vv[dot[0]] >= dot[1], name
        stamp, before = following, after


def test_etag_names_the_record_and_the_set_of_dots() -> None:
    assert etag_of("r", ("a", 1), ("b", 2)) == etag_of("r", ("b", 2), ("a", 1))
    assert etag_of("r", ("a", 1)) != etag_of("r", ("a", 2))
    assert etag_of("r", ("a", 1)) != etag_of("s", ("a", 1))
    assert etag_of("r", ("a", 1)).startswith('"')


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"a":[],"c":[[0,1]]}', "null"])
def test_load_refuses_what_is_not_a_stamp(text: str) -> None:
    with pytest.raises(ValueError, match="not a stamp"):
        Stamp.load(text)
