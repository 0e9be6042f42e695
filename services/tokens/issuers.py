"""Which remote issuers a deployment trusts: the settings of one, and a list.

From `[[identity.issuers]]` of `backend.toml`, `WM_OIDC_ISSUERS` (a JSON list of
the same tables), or `WM_OIDC_ISSUER`, `WM_COGNITO_USER_POOL_ID` or
`WM_ENTRA_TENANT_ID` and their companions for a single one.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Annotated, Any, Final, Literal
from urllib.parse import urlsplit

from pydantic import (
    BaseModel,
    ConfigDict,
    Discriminator,
    Field,
    Tag,
    ValidationInfo,
    field_validator,
)

from services.model.errors import invalid_field
from services.tokens.entra_settings import EntraSettings

__all__ = [
    "AnyIssuer",
    "CognitoSettings",
    "EntraSettings",
    "IssuerSettings",
    "RemoteIssuer",
    "check_keys_endpoint",
    "issuer_of",
    "one_of_each",
]

# Regions of the partitions aws and aws-us-gov (botocore, partitions.json); pools
# of the others have issuers on other domains.
_REGION: Final = r"(?:us|eu|ap|sa|ca|me|af|il|mx|us-gov)-[a-z]+-[0-9]{1,2}"
_POOL: Final = re.compile(rf"({_REGION})_[0-9A-Za-z]{{1,40}}")
_EMULATOR: Final = re.compile(r"https?://(?:127\.0\.0\.1|\[::1\])(?::[0-9]{1,5})?")
_CLIENT: Final = re.compile(r"[A-Za-z0-9_+]{1,128}")

Algorithm = Literal["RS256", "PS256", "ES256", "ES384", "EdDSA"]


class IssuerSettings(BaseModel):
    """One issuer. There is no default for what tells its tokens from others'."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    issuer: str = Field(description="the exact `iss`; an https URL")
    audience: str = Field(description="the exact `aud` of tokens that are for this workspace")
    kind: Literal["oidc"] = Field("oidc", description="any conforming issuer")
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


class CognitoSettings(BaseModel):
    """A user pool of Amazon Cognito and the app clients whose tokens are taken.

    The issuer follows from the pool's id, which begins with its region; no
    setting or variable can put another host in its place.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    kind: Literal["cognito"] = Field(default="cognito", description="a user pool of Amazon Cognito")
    user_pool_id: str = Field(description="for example us-east-1_AbCdEfGhI")
    client_ids: tuple[str, ...] = Field(description="app clients made for this workspace")
    region: str = Field(default="", description="must be that of user_pool_id; may be left out")
    token_use: Literal["access", "id"] = Field(
        default="access", description="the one kind of its tokens that is taken"
    )
    max_token_seconds: int = Field(
        default=86_400, ge=60, le=86_400, description="longest life of a token that is taken"
    )

    @property
    def issuer(self) -> str:
        """The exact `iss` (Cognito developer guide, "Verifying JSON web tokens")."""
        region = self.user_pool_id.partition("_")[0]
        return f"https://cognito-idp.{region}.amazonaws.com/{self.user_pool_id}"

    @field_validator("user_pool_id")
    @classmethod
    def _a_pool(cls, value: str) -> str:
        if _POOL.fullmatch(value) is None:
            raise ValueError(
                "must be the id of a user pool, as us-east-1_AbCdEfGhI, in a region of AWS "
                "or AWS GovCloud (US)"
            )
        return value

    @field_validator("client_ids")
    @classmethod
    def _some_clients(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        if not value or not all(map(_CLIENT.fullmatch, value)):
            raise ValueError(
                "name at least one app client id, letters and digits only: with an empty one "
                "tokens of every client of the pool would be taken"
            )
        return value

    @field_validator("region")
    @classmethod
    def _of_the_pool(cls, value: str, info: ValidationInfo) -> str:
        pool = str(info.data.get("user_pool_id", ""))
        if value and pool and value != pool.partition("_")[0]:
            raise ValueError("is not the region of user_pool_id; leave it out")
        return value


def _kind(value: object) -> object:
    if isinstance(value, Mapping):
        return value.get("kind", "oidc")
    return getattr(value, "kind", None)


AnyIssuer = IssuerSettings | CognitoSettings | EntraSettings
_KINDS: Final[Mapping[str, type[AnyIssuer]]] = {
    "oidc": IssuerSettings, "cognito": CognitoSettings, "entra": EntraSettings,
}  # fmt: skip

RemoteIssuer = Annotated[
    Annotated[IssuerSettings, Tag("oidc")]
    | Annotated[CognitoSettings, Tag("cognito")]
    | Annotated[EntraSettings, Tag("entra")],
    Discriminator(_kind),
]
"""One entry of the list; its `kind` says which (default `oidc`)."""


def issuer_of(table: Mapping[str, Any], *, field: str) -> AnyIssuer:
    """The issuer of a table `[[identity.issuers]]`. Raises INVALID_FIELD for an
    unknown `kind`, and pydantic's ValidationError for the rest."""
    kind = _kind(table)
    if not isinstance(kind, str) or kind not in _KINDS:
        raise invalid_field(f"{field}.kind", "must be oidc, cognito or entra")
    return _KINDS[kind](**table)


def check_keys_endpoint(url: str, *, field: str, loopback_only: bool) -> None:
    """Refuses, with INVALID_FIELD, an emulator that is not on this machine, and any
    for a workspace that others can reach: whoever serves the keys signs anybody in."""
    if _EMULATOR.fullmatch(url) is None:
        raise invalid_field(
            field,
            "is for emulators in tests: http(s)://127.0.0.1:PORT and nothing more; leave it out "
            "to read the keys from the provider",
        )
    if not loopback_only:
        raise invalid_field(
            field,
            "is for tests on this machine; leave it out where others can reach the workspace",
        )


def one_of_each(issuers: Iterable[AnyIssuer]) -> tuple[AnyIssuer, ...]:
    """The issuers, each once. Raises INVALID_FIELD for one that occurs twice."""
    found: dict[str, AnyIssuer] = {}
    for each in issuers:
        if each.issuer in found:
            raise invalid_field("identity.issuers", f"{each.issuer} occurs twice; keep one")
        found[each.issuer] = each
    return tuple(found.values())
