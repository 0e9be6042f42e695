"""What a second life wrote, minted again: the rules, record by record."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from services.model.stamp import Dot
from services.model.versions import State, Version, covers, join
from services.records.remint import Lives, minted_again

A, B, X = "n1.a", "n1.b", "n2.x"
BOUND = "0000000000100.00000"
LIVES = Lives({A: (BOUND, BOUND)}, B)


def at(millis: int) -> str:
    return f"{millis:013d}.00000"


def version(
    dot: Dot, hlc: int, text: str, vv: Mapping[str, int] | None = None, **fields: Dot
) -> Version:
    past = {dot[0]: dot[1]} if vv is None else dict(vv)
    return Version(dot, past, fields or {"name": dot}, at(hlc), text, text)


def state(*versions: Version, **clock: int) -> State:
    known = {"a": A, "b": B, "x": X}
    return State(
        "project", {known[a]: n for a, n in clock.items()}, {each.dot: each for each in versions}
    )


def test_what_was_before_the_last_contact_stays() -> None:
    mine = state(version((A, 3), 100, "old"), a=3)
    assert minted_again(mine, None, LIVES) is None
    assert minted_again(mine, state(version((A, 5), 300, "new"), a=5), LIVES) is None


def test_what_the_surface_has_just_so_stays() -> None:
    mine = state(version((A, 3), 200, "same"), a=3)
    assert minted_again(mine, mine, LIVES) is None


def test_the_same_dot_with_another_text_is_minted_again() -> None:
    mine = state(version((A, 4), 200, "second"), a=4)
    theirs = state(version((A, 4), 150, "first"), a=4)
    again = minted_again(mine, theirs, LIVES)
    assert again is not None
    assert again.dots == ((B, 1),)
    assert not covers(again.clock, (A, 4))
    both = join(again, theirs)
    assert {each.body for each in both.versions.values()} == {"first", "second"}


def test_two_lives_of_one_dot_are_told_apart_even_before_the_bound() -> None:
    mine = state(version((A, 4), 90, "second"), a=4)
    theirs = state(version((A, 4), 80, "first"), a=4)
    again = minted_again(mine, theirs, LIVES)
    assert again is not None
    assert again.dots == ((B, 1),)
    assert not covers(again.clock, (A, 4))
    by_hand = state(version((A, 4), 90, "by hand"), a=4)
    assert minted_again(mine, by_hand, LIVES) is None


def test_a_dot_that_the_surface_has_superseded_is_not_taken_for_seen() -> None:
    """Whose content it superseded is unknown: both stay, for people to decide."""
    mine = state(version((A, 4), 200, "second"), a=4)
    theirs = state(version((X, 1), 170, "of x", {A: 4, X: 1}), a=4, x=1)
    again = minted_again(mine, theirs, LIVES)
    assert again is not None
    both = join(again, theirs)
    assert {each.body for each in both.versions.values()} == {"of x", "second"}


def test_an_edit_of_common_history_supersedes_it() -> None:
    mine = state(version((A, 4), 200, "new", {A: 4}, name=(A, 4), color=(A, 2)), a=4)
    theirs = state(version((A, 3), 90, "old", {A: 3}, name=(A, 1), color=(A, 2)), a=3)
    again = minted_again(mine, theirs, LIVES)
    assert again is not None
    (minted,) = again.versions.values()
    assert (minted.dot, minted.vv) == ((B, 1), {A: 3, B: 1})
    assert minted.fields == {"name": (B, 1), "color": (A, 2)}
    assert join(again, theirs).dots == ((B, 1),)


def test_versions_beside_it_stay() -> None:
    other = version((X, 7), 120, "of x", {X: 7})
    mine = state(version((A, 4), 200, "second"), other, a=4, x=7)
    again = minted_again(mine, None, LIVES)
    assert again is not None
    assert set(again.dots) == {(B, 1), (X, 7)}
    assert again.versions[(X, 7)] == other
    assert again.clock == {B: 1, X: 7}


def test_two_of_them_do_not_claim_each_other() -> None:
    mine = state(
        version((A, 4), 200, "one", {A: 2}), version((A, 5), 210, "two", {A: 5, X: 1}), a=5, x=1
    )
    again = minted_again(mine, None, LIVES)
    assert again is not None
    first, second = again.versions.values()
    assert not first.saw(second.dot)
    assert not second.saw(first.dot)


def test_what_the_new_incarnation_wrote_on_top_is_cut_and_keeps_its_dot() -> None:
    mine = state(version((B, 1), 300, "third", {A: 5, B: 1}, name=(B, 1), size=(A, 5)), a=5, b=1)
    theirs = state(version((A, 5), 150, "first"), a=5)
    again = minted_again(mine, theirs, LIVES)
    assert again is not None
    assert again.dots == ((B, 1),)
    assert again.versions[(B, 1)].fields == {"name": (B, 1), "size": (B, 1)}
    assert set(join(again, theirs).dots) == {(A, 5), (B, 1)}


def test_what_the_first_life_wrote_before_its_last_contact_is_not_common() -> None:
    """Two readings: the first life wrote until 180, the second began after that."""
    lives = Lives({A: (BOUND, at(180))}, B)
    mine = state(version((A, 4), 200, "second"), a=4)
    theirs = state(version((A, 4), 150, "first"), a=4)
    again = minted_again(mine, theirs, lives)
    assert again is not None
    assert set(join(again, theirs).dots) == {(A, 4), (B, 1)}
    unsent = state(version((A, 4), 120, "unsent"), a=4)
    assert minted_again(unsent, state(version((A, 5), 150, "later"), a=5), lives) is None


def test_a_former_incarnation_that_is_not_in_doubt_is_left_alone() -> None:
    mine = state(version((A, 4), 200, "x"), a=4)
    assert minted_again(mine, None, Lives({}, B)) is None
    assert minted_again(mine, None, Lives({"n1.other": (BOUND, BOUND)}, B)) is None


def test_the_reading_of_an_erasure_tells_nothing() -> None:
    mine = state(replace(version((A, 4), 50, "erased here"), erased=True), a=4)
    theirs = state(replace(version((A, 5), 50, "erased there"), erased=True), a=5)
    again = minted_again(mine, theirs, LIVES)
    assert again is not None
    assert set(join(again, theirs).dots) == {(A, 5), (B, 1)}


@st.composite
def _lives(draw: st.DrawFn) -> tuple[State, State, set[str]]:
    """Common history of A up to the bound, then two lives of A; X edits what it has
    seen of the first. Returns (second life, surface, texts of the last writes)."""
    common = draw(st.integers(0, 3))
    first = draw(st.integers(1, 3))
    second = draw(st.integers(1, 3))
    surface = version((A, common + first), 150 + first, "first", {A: common + first})
    theirs = State("project", {A: common + first}, {surface.dot: surface})
    if draw(st.booleans()):
        other = version((X, 1), 170, "of x", {A: common + first, X: 1})
        theirs = State("project", {A: common + first, X: 1}, {other.dot: other})
    mine = version((A, common + second), 200 + second, "second", {A: common + second})
    if draw(st.booleans()):
        mine = version((B, 1), 300, "third", {A: common + second, B: 1})
    clock = {A: common + second, **({B: 1} if mine.dot[0] == B else {})}
    wanted = {each.body for each in theirs.versions.values()} | {mine.body}
    return State("project", clock, {mine.dot: mine}), theirs, wanted


@given(_lives())
def test_neither_life_is_lost_and_doing_it_again_changes_nothing(
    given_: tuple[State, State, set[str]],
) -> None:
    mine, theirs, wanted = given_
    again = minted_again(mine, theirs, LIVES)
    assert again is not None
    assert minted_again(again, theirs, LIVES) is None
    for both in (join(again, theirs), join(theirs, again)):
        assert {each.body for each in both.versions.values()} == wanted
    for each in again.versions.values():
        assert covers(again.clock, each.dot)
        assert all(covers(again.clock, dot) for dot in each.vv.items())
        assert all(each.saw(dot) for dot in each.fields.values())
