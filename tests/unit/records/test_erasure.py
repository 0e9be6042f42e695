"""What is taken out of a row, and what is not."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.records.erasure import Person, Position, Scrubber

ME = Person.of("u_abcdefgh", ["Ann@Example.com", "no address"], ["u_linked"])
SCRUBBER = Scrubber(ME)


def scrubbed(value: Any) -> Any:
    return SCRUBBER.scrub(value)


def test_the_person_has_canonical_addresses_and_one_pseudonym() -> None:
    assert ME.addresses == ("ann@example.com",)
    assert ME.ids == {"u_abcdefgh", "u_linked"}
    assert ME.address.endswith("@erased.invalid")
    assert "abcdefgh" in ME.pseudonym


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("ann@example.com", "@"),
        ("ANN@EXAMPLE.COM", "@"),
        ("ask <ann@example.com>, please.", "ask <@>, please."),
        ("ann@example.com.", "@."),
        ("mailto:ann@example.com?x=1", "mailto:@?x=1"),
        ("joann@example.com", None),
        ("ann@example.com.au", None),
        ("ann@example.community", None),
        ("x.ann@example.com", None),
        ("nothing", None),
    ],
)
def test_an_address_is_replaced_as_a_whole(text: str, expected: str | None) -> None:
    wanted = text if expected is None else expected.replace("@", ME.address)
    assert scrubbed(text) == wanted
    assert scrubbed({"a": [text]}) == {"a": [wanted]}


@pytest.mark.parametrize("user_id", ["u_abcdefgh", "u_linked"])
def test_fields_of_an_object_about_the_person(user_id: str) -> None:
    row = {
        "user_id": user_id, "name": "Ann", "email": "other@example.com", "subject": "auth0|1",
        "issuer": "https://issuer", "deployment_claims": ["g"], "last_seen_at": "2026",
        "role": "ACCOUNT_ROLE_OWNER", "created_by": "u_abcdefgh",
    }
    assert scrubbed(row) == {
        "user_id": user_id, "name": ME.pseudonym, "email": ME.address, "subject": ME.pseudonym,
        "issuer": "https://issuer", "role": "ACCOUNT_ROLE_OWNER", "created_by": "u_abcdefgh",
    }
    assert scrubbed({"changes": [{"before": row}]}) == {"changes": [{"before": scrubbed(row)}]}


def test_an_empty_field_stays_empty() -> None:
    assert scrubbed({"user_id": "u_abcdefgh", "name": ""}) == {"user_id": "u_abcdefgh", "name": ""}


def test_somebody_else_of_the_same_address_keeps_it_and_texts_do_not() -> None:
    other = {
        "user_id": "u_other", "email": "ann@example.com", "name": "Ann", "note": "ann@example.com"
    }
    assert scrubbed(other) == other | {"note": ME.address}


def test_the_name_of_the_personal_account() -> None:
    own = {"type": "personal", "owner_user_id": "u_abcdefgh", "name": "Ann"}
    assert scrubbed(own)["name"] == ME.pseudonym
    for kept in ({"type": "client_org"}, {"owner_user_id": "u_other"}):
        assert scrubbed(own | kept)["name"] == "Ann"


def test_without_an_address_only_objects_about_the_person_change() -> None:
    scrubber = Scrubber(Person.of("u_abcdefgh", []))
    assert scrubber.scrub("ann@example.com") == "ann@example.com"
    assert not scrubber.mentioned_in("ann@example.com")
    assert scrubber.mentioned_in("... u_abcdefgh ...")


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text()
    | st.sampled_from(["ann@example.com", "u_abcdefgh", "u_other", "personal"]),
    lambda inner: st.lists(inner)
    | st.dictionaries(
        st.sampled_from(["user_id", "name", "email", "type", "owner_user_id", "x"]), inner
    ),
    max_leaves=20,
)


@given(_JSON)
def test_scrubbing_twice_is_scrubbing_once_and_the_filter_misses_nothing(value: Any) -> None:
    once = scrubbed(value)
    assert scrubbed(once) == once
    if once != value:
        assert SCRUBBER.mentioned_in(json.dumps(value))


def test_a_position_comes_back_as_it_was() -> None:
    position = Position("A#1", "B", 3)
    assert Position.load(json.loads(json.dumps(position.dump()))) == position
