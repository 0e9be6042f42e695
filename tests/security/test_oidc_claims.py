"""What users of an issuer can write into their own profile harms nobody here."""

from __future__ import annotations

from typing import Any

import pytest

from services.model.names import cleaned_name, validate_name
from services.tokens.oidc import OidcClaims

BASE = {"iss": "https://idp.example", "sub": "s1", "iat": 1, "exp": 2}
HIDDEN = [
    "\r\nBcc: all@example.com", "\x1b[2J", "\u202egpj.exe", "\u200b", "\x00", "\ud800", "\u2028",
]  # fmt: skip


def read(**claims: Any) -> Any:
    return OidcClaims()({**BASE, **claims})


@pytest.mark.parametrize("hidden", HIDDEN)
def test_a_name_is_one_that_people_could_have_given_here(hidden: str) -> None:
    name = read(name=f"Eve{hidden}").name
    assert name.startswith("Eve")
    assert validate_name("name", name) == name
    assert read(name=hidden[:1] * 9, preferred_username="eve").name == "eve"


@pytest.mark.parametrize("hidden", [*HIDDEN, " ", ",bob@example.com", "<x>", "@example.com"])
def test_an_address_is_one_address_or_none(hidden: str) -> None:
    claims = read(email=f"eve@example.com{hidden}", email_verified=True)
    assert (claims.email, claims.email_verified) == ("", False)


@pytest.mark.parametrize("email", ["eve@example.com", "ev.e+x@example.com", "jörg@exämple.de"])
def test_usual_addresses_are_kept_as_they_are(email: str) -> None:
    assert read(email=email, email_verified=True).email == email
    assert not read(email=email, email_verified="true").email_verified


@pytest.mark.parametrize("hidden", HIDDEN)
def test_a_group_that_hides_something_is_unknown(hidden: str) -> None:
    claims = read(groups=["staff", f"admin{hidden}"])
    assert (claims.groups, claims.groups_incomplete) == (("staff",), True)


def test_a_cleaned_name_is_bounded_and_whole() -> None:
    assert cleaned_name("a" * 300) == "a" * 200
    assert cleaned_name(" A\tB \n") == "A B"
    assert cleaned_name("Zoe\u0308") == "Zo\u00eb"
    assert cleaned_name("") == ""
