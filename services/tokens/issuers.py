"""Which remote issuers a deployment trusts: the settings of one, and a list.

From `[[identity.issuers]]` of `backend.toml`, `WM_OIDC_ISSUERS` (a JSON list of
the same tables), or `WM_OIDC_ISSUER` and its companions for a single one.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal
from urllib.parse import urlsplit

from pydantic import BaseModel, ConfigDict, Field, field_validator

from services.model.errors import invalid_field

__all__ = ["IssuerSettings", "one_of_each"]

Algorithm = Literal["RS256", "PS256", "ES256", "ES384", "EdDSA"]


class IssuerSettings(BaseModel):
    """One issuer. There is no default for what tells its tokens from others'."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    issuer: str = Field(description="the exact `iss`; an https URL")
    audience: str = Field(description="the exact `aud` of tokens that are for this workspace")
    provider: Literal["oidc"] = Field("oidc", description="kind of the issuer")
    algorithm: Algorithm = Field("RS256", description="the one algorithm of its tokens")
    types: tuple[str, ...] = Field(("at+jwt", "JWT"), description="accepted `typ` headers")
    groups_claim: str = Field("groups", description="claim whose list is recorded")
    max_token_seconds: int = Field(
        86_400, ge=60, le=86_400, description="longest life of a token that is taken"
    )

    @field_validator("issuer")
    @classmethod
    def _https(cls, value: str) -> str:
        parts = urlsplit(value)
        if parts.scheme != "https" or not parts.hostname or parts.query or parts.fragment:
            raise ValueError("must be an https URL without query, exactly as its tokens say `iss`")
        return value

    @field_validator("audience", "groups_claim")
    @classmethod
    def _not_empty(cls, value: str) -> str:
        if not value.strip() or value != value.strip():
            raise ValueError("must not be empty: an empty one would switch a check off")
        return value

    @field_validator("types")
    @classmethod
    def _some_types(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        if not value or "" in value:
            raise ValueError("name at least one `typ`, for example at+jwt")
        return value


def one_of_each(issuers: Iterable[IssuerSettings]) -> tuple[IssuerSettings, ...]:
    """The issuers, each once. Raises INVALID_FIELD for one that occurs twice."""
    found: dict[str, IssuerSettings] = {}
    for each in issuers:
        if each.issuer in found:
            raise invalid_field("identity.issuers", f"{each.issuer} occurs twice; keep one")
        found[each.issuer] = each
    return tuple(found.values())
