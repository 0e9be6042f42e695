"""Loads the settings (settings.py), validated at start.

Sources, strongest first: explicit arguments (flags of `wm`), environment
variables `WM_*`, the non-secret `backend.toml`, defaults. Secrets come only
from the environment or from key files; `backend.toml` that holds one is refused.
"""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from services.aws.selected import aws_selection, check_aws
from services.aws.selected import from_environment as from_aws_environment
from services.azure.selected import azure_selection, check_azure
from services.azure.selected import from_environment as from_azure_environment
from services.model.errors import FieldViolation, Reason, WorkspaceError, invalid_field
from services.model.selection import refuse_secrets
from services.processes.target_settings import check_targets
from services.settings import Settings, is_loopback
from services.tokens.issuers import (
    AnyIssuer,
    CognitoSettings,
    EntraSettings,
    IssuerSettings,
    check_keys_endpoint,
    issuer_of,
    one_of_each,
)

__all__ = ["load_selection", "load_settings"]

_ISSUER = ("issuer", "audience", "algorithm", "groups_claim")
_POOL = ("user_pool_id", "client_ids", "token_use")
_TENANT = ("tenant_id", "client_ids", "token_use", "token_version", "external")


def load_settings(**overrides: Any) -> Settings:
    """Settings from all sources. Raises INVALID_FIELD naming the variable."""
    given = {name: value for name, value in overrides.items() if value is not None}
    try:
        settings = Settings(**given)
    except ValidationError as error:
        raise _readable(error) from None
    settings = from_azure_environment(from_aws_environment(_selected(settings)))
    check_aws(settings)
    check_azure(settings)
    _check_tls(settings)
    _check_mail(settings)
    check_targets(settings)
    return settings.model_copy(update={"oidc_issuers": one_of_each(_issuers(settings))})


def _issuers(settings: Settings) -> list[AnyIssuer]:
    """All issuers: the single ones of WM_OIDC_ISSUER, WM_COGNITO_USER_POOL_ID and
    WM_ENTRA_TENANT_ID, too."""
    for name in ("cognito_endpoint", "entra_endpoint"):
        if url := getattr(settings, name):
            field = f"WM_{name.upper()}"
            check_keys_endpoint(url, field=field, loopback_only=settings.for_this_machine)
    found: list[AnyIssuer] = [*settings.oidc_issuers]
    if _has(settings, "cognito", _POOL):
        found.append(_single(settings, "cognito", _POOL, CognitoSettings))
    if _has(settings, "entra", _TENANT):
        cloud = {"cloud": settings.azure_cloud}
        found.append(_single(settings, "entra", _TENANT, EntraSettings, **cloud))
    if _has(settings, "oidc", _ISSUER[:2]):
        found.append(_single(settings, "oidc", _ISSUER, IssuerSettings))
    return found


def _has(settings: Settings, provider: str, names: tuple[str, ...]) -> bool:
    return not settings.model_fields_set.isdisjoint(f"{provider}_{name}" for name in names)


def _single(
    settings: Settings, provider: str, names: tuple[str, ...], kind: type[AnyIssuer], **more: Any
) -> AnyIssuer:
    given = {name: getattr(settings, f"{provider}_{name}") for name in names}
    if "client_ids" in given:
        given["client_ids"] = tuple(filter(None, map(str.strip, given["client_ids"].split(","))))
    try:
        return kind(**given, **more)
    except ValidationError as error:
        raise _readable(error, prefix=f"WM_{provider.upper()}_") from None


def _selected(settings: Settings) -> Settings:
    """A selection that is there must be good, and is followed; one that was
    asked for must be there."""
    if settings.backend_file.exists():
        selection = load_selection(settings.backend_file)
        settings = _with_issuers(settings, selection)
        if selection["provider"] == "aws":
            return settings.model_copy(update=aws_selection(settings, selection))
        if selection["provider"] == "azure":
            return settings.model_copy(update=azure_selection(settings, selection))
        if "data_dir" not in settings.model_fields_set:
            return settings.model_copy(update={"data_dir": _data_dir(settings, selection)})
    elif "backend_file" in settings.model_fields_set:
        raise invalid_field(
            "WM_BACKEND_FILE",
            f"{settings.backend_file} does not exist; write it with `wm init`, or leave it out",
        )
    return settings


def _with_issuers(settings: Settings, selection: dict[str, Any]) -> Settings:
    """The issuers of `[[identity.issuers]]`, unless WM_OIDC_ISSUERS names others."""
    tables = _table(selection, "identity").get("issuers", [])
    field = f"{settings.backend_file.name}: identity.issuers"
    if not isinstance(tables, list) or not all(isinstance(each, dict) for each in tables):
        raise invalid_field(field, "must be tables; write [[identity.issuers]]")
    try:
        found = tuple(issuer_of(each, field=field) for each in tables)
    except ValidationError as error:
        raise _readable(error, prefix=f"{field}.") from None
    if not found or "oidc_issuers" in settings.model_fields_set:
        return settings
    return settings.model_copy(update={"oidc_issuers": found})


def _data_dir(settings: Settings, selection: dict[str, Any]) -> Path:
    """The data folder that a local selection names by its two places in it."""
    data_dir = settings.data_dir
    places = (("storage", "folder", "objects"), ("database", "file", "workspace.sqlite"))
    for at, (section, key, name) in enumerate(places):
        place = Path(str(_table(selection, section).get(key, data_dir / name)))
        if place.name != name or (at and place.parent != data_dir):
            raise invalid_field(
                f"{settings.backend_file.name}: {section}.{key}",
                f"must be <data folder>/{name}, the same folder for both places; mend it, or "
                "name the data folder with --data or WM_DATA_DIR",
            )
        data_dir = place.parent
    return data_dir


def _table(selection: dict[str, Any], section: str) -> dict[str, Any]:
    value = selection.get(section, {})
    if not isinstance(value, dict):
        raise invalid_field(section, "must be a table of backend.toml")
    return value


def _check_tls(settings: Settings) -> None:
    for kind in ("tls", "peer"):
        for given, missing in (("certificate", "key"), ("key", "certificate")):
            if getattr(settings, f"{kind}_{given}") and not getattr(settings, f"{kind}_{missing}"):
                raise invalid_field(
                    f"WM_{kind.upper()}_{missing.upper()}",
                    f"is needed with WM_{kind.upper()}_{given.upper()}",
                )
    if settings.tls_client_ca is not None and settings.tls_certificate is None:
        raise invalid_field(
            "WM_TLS_CERTIFICATE",
            "is needed with WM_TLS_CLIENT_CA: without TLS nobody is asked for a certificate",
        )


def _check_mail(settings: Settings) -> None:
    if settings.mail != "smtp":
        return
    if not settings.smtp_host:
        raise invalid_field("WM_SMTP_HOST", "is needed with WM_MAIL=smtp")
    if settings.smtp_security == "none" and not is_loopback(settings.smtp_host):
        raise invalid_field(
            "WM_SMTP_SECURITY",
            "mail and password would cross the network in clear; use starttls or tls",
        )


def load_selection(path: Path) -> dict[str, Any]:
    """The backend selection of a deployment, without secrets, or a clear error."""
    try:
        selection = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise invalid_field(
            str(path), f"is not readable TOML ({error}); mend it or write it anew with `wm init`"
        ) from None
    refuse_secrets(selection)
    provider = selection.get("provider")
    if not isinstance(provider, str) or provider not in {"local", "aws", "azure"}:
        raise invalid_field(f"{path.name}: provider", "must be local, aws or azure")
    return selection


def _readable(error: ValidationError, *, prefix: str = "WM_") -> WorkspaceError:
    violations = [
        FieldViolation(prefix + _setting(e["loc"], upper=prefix.startswith("WM_")), e["msg"])
        for e in error.errors()
    ]
    text = "; ".join(f"{v.field}: {v.description}" for v in violations)
    return WorkspaceError(
        Reason.ERROR_REASON_INVALID_FIELD,
        text,
        metadata={"field": violations[0].field},
        violations=violations,
    )


def _setting(path: tuple[int | str, ...], *, upper: bool) -> str:
    name = "_".join(map(str, path))
    return name.upper() if upper else name
