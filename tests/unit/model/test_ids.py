"""Ids: golden values, separation of parts, shape."""

from __future__ import annotations

import base64
import hashlib
import random
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.model import ids

ISSUER = "https://cognito-idp.us-east-1.amazonaws.com/us-east-1_abc"


def test_user_id_is_what_the_design_says() -> None:
    framed = b"\x00\x00\x00\x39" + ISSUER.encode() + b"\x00\x00\x00\x02" + b"s1"
    assert len(ISSUER) == 0x39
    digest = base64.b32encode(hashlib.sha256(framed).digest()).decode().lower()
    assert ids.user_id(ISSUER, "s1") == "u_" + digest[:26]


def test_golden_values_never_change() -> None:
    assert ids.user_id("https://issuer.example", "subject-1") == "u_fotfevf7swor6htmls7oxqebfp"
    assert ids.identity_hash("https://issuer.example", "subject-1") == (
        "jph4q6fip3sn7mdhvdjsz6hm5nkb2r3t3zladhbmhsk6ti5hhn3q"
    )
    assert ids.email_hash("ada@example.com") == (
        "oi74pesxrgd4pxtytpl7v7odmhd6kbtrdp7y2kqevmiebfh7ycxa"
    )
    assert ids.derived_id("p", b"key", "u_1", "/m", "r1") == "p_sr53skburau4xbmjoluguguiz5"


@given(st.text(), st.text(), st.text(), st.text())
def test_parts_never_run_into_each_other(a: str, b: str, c: str, d: str) -> None:
    same = (a, b) == (c, d)
    assert (ids.user_id(a, b) == ids.user_id(c, d)) == same
    assert (ids.identity_hash(a, b) == ids.identity_hash(c, d)) == same
    one, two = (ids.derived_id("p", b"k", x, y, "r") for x, y in ((a, b), (c, d)))
    assert (one == two) == same


def test_moving_the_boundary_changes_the_id() -> None:
    assert ids.user_id("ab", "c") != ids.user_id("a", "bc")
    assert ids.user_id("", "abc") != ids.user_id("abc", "")
    assert ids.user_id("a", "b") != ids.user_id("b", "a")


def test_no_id_is_part_of_another_kind() -> None:
    assert not ids.identity_hash("i", "s").startswith(ids.user_id("i", "s")[2:])


def test_every_argument_counts() -> None:
    base = ("p", b"k", "u", "/m", "r")
    variants = [("q", *base[1:]), ("p", b"l", *base[2:])]
    variants += [(*base[:i], "other", *base[i + 1 :]) for i in (2, 3, 4)]
    bodies = {ids.derived_id(*v).split("_")[1] for v in (base, *variants)}
    assert len(bodies) == 6
    assert ids.derived_id(*base) == ids.derived_id(*base)


def test_shapes() -> None:
    body = re.compile(r"[a-z2-7]{26}")
    for value, prefix in (
        (ids.user_id("i", "s"), "u_"),
        (ids.derived_id("d", b"k", "u", "m", "r"), "d_"),
        (ids.random_id("x"), "x_"),
    ):
        assert value.startswith(prefix)
        assert body.fullmatch(value.removeprefix(prefix))
    assert re.fullmatch(r"[a-z2-7]{52}", ids.email_hash("a@b"))
    assert re.fullmatch(r"[a-z2-7]{52}", ids.identity_hash("i", "s"))


def test_random_ids_come_from_the_given_source() -> None:
    first, second = random.Random(7), random.Random(7)
    assert ids.random_id("x", first.randbytes) == ids.random_id("x", second.randbytes)
    assert ids.random_id("x", first.randbytes) != ids.random_id("y", first.randbytes)
    assert len({ids.random_id("x") for _ in range(1000)}) == 1000
    # The last of the 130 bits is used.
    assert ids.random_id("x", lambda n: b"\0" * 16 + b"\x40") != ids.random_id(
        "x", lambda n: b"\0" * n
    )


def test_email_folds_ascii_only() -> None:
    assert ids.email_hash(" Ada@Example.COM ") == ids.email_hash("ada@example.com")
    assert ids.canonical_email("\u212aim@x") != "kim@x"
    assert ids.canonical_email("İ@x") == "İ@x"
    plain = hashlib.sha256(b"ada@example.com").digest()
    assert ids.email_hash("ada@example.com") != base64.b32encode(plain).decode().lower()[:52]


def test_an_empty_key_is_refused() -> None:
    with pytest.raises(ValueError, match="key"):
        ids.derived_id("p", b"", "u", "m", "r")
