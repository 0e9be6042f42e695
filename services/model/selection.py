"""The backend selection: what `wm init` writes, and the guard that keeps secrets out of it.

The dict has exactly the names and shape of the seeds' `backendSelection`
(`src/config/backend.js`); writing it to a file is done elsewhere. It holds
resource names only, so it is safe to commit.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator, Mapping
from typing import Any, Final

from services.model.catalog import PROVIDERS, Provider, provider_of
from services.model.errors import FieldViolation, Reason, WorkspaceError, invalid_field
from services.model.secret_references import is_secret_reference

__all__ = [
    "DEFAULT_ENVIRONMENT",
    "DEFAULT_PREFIX",
    "backend_selection",
    "looks_like_secret",
    "refuse_secrets",
    "selected_text",
    "storage_account_name",
]

DEFAULT_PREFIX: Final = "workspace-management"
DEFAULT_ENVIRONMENT: Final = "dev"
_ITEMS: Final = "workspace_items"
_PREFIX_MODE: Final = "workspace-model"
_NAME: Final = re.compile(r"[a-z][a-z0-9]*(-[a-z0-9]+)*")
_PLACE: Final = re.compile(r"[a-z][a-z0-9-]{1,62}")
# Provider limits of the longest derived name: S3 bucket 63, Cosmos account 44.
_MAX_NAME: Final = {"local": 63, "aws": 63 - len("-documents"), "azure": 44 - len("-cosmos")}
_MAX_ENVIRONMENT: Final = 16

# Azure storage accounts: 3-24 characters, lower-case letters and digits only.
_STEM_CHARS: Final = 15
_ENVIRONMENT_CHARS: Final = 5


def backend_selection(
    *,
    provider: str,
    environment: str = DEFAULT_ENVIRONMENT,
    prefix: str = DEFAULT_PREFIX,
    region: str = "",
    location: str = "",
) -> dict[str, object]:
    """The selection for the arguments of `wm init`.

    `region` is for aws (default us-east-1), `location` for azure (default
    eastus). Raises INVALID_FIELD for anything else, and for names no provider
    resource could have.
    """
    chosen = provider_of(provider)
    if chosen is None:
        known = ", ".join(each.key for each in PROVIDERS)
        raise invalid_field("provider", f"is not known; choose one of {known}")
    _check_names(provider, environment, prefix)
    place = _place(chosen, region=region, location=location)
    return {
        "provider": provider,
        "environment": environment,
        **place,
        "storage": _storage(provider, prefix, environment),
        "database": _database(provider, prefix, environment),
        "identity": {"service": chosen.identity_service},
        "notifications": {"service": chosen.notification_service},
    }


def selected_text(selection: Mapping[str, Any], file: str, *path: str) -> str:
    """What a selection says at a path, '' for nothing. Raises INVALID_FIELD, naming the
    `file`, for what is no text."""
    value: Any = selection
    for part in path:
        value = value.get(part, "") if isinstance(value, Mapping) else ""
    if not isinstance(value, str):
        raise invalid_field(f"{file}: {'.'.join(path)}", "must be a text")
    return value


def storage_account_name(prefix: str, environment: str) -> str:
    """`workspacemanagedevdocs` for (`workspace-management`, `dev`); at most 24 characters.

    15 characters of the prefix, 5 of the environment, `docs`. A longer
    environment is told apart by a hash; two prefixes with the same first 15
    characters collide, which Azure reports when the account is created (names
    are global).
    """
    stem = prefix.replace("-", "")[:_STEM_CHARS]
    short = environment.replace("-", "")
    if len(short) > _ENVIRONMENT_CHARS or short != environment:
        short = short[:2] + hashlib.sha256(environment.encode()).hexdigest()[:3]
    return f"{stem}{short}docs"


def _check_names(provider: str, environment: str, prefix: str) -> None:
    for field, value in (("prefix", prefix), ("environment", environment)):
        if not _NAME.fullmatch(value):
            raise invalid_field(
                field, "must be lower-case letters and digits in words joined by '-', letter first"
            )
    if len(environment) > _MAX_ENVIRONMENT:
        raise invalid_field("environment", f"must have at most {_MAX_ENVIRONMENT} characters")
    room = _MAX_NAME[provider] - len(environment) - 1
    if len(prefix) > room:
        raise invalid_field("prefix", f"must have at most {room} characters with this environment")


def _place(provider: Provider, *, region: str, location: str) -> dict[str, str]:
    given = {"region": region, "location": location}
    for field, value in given.items():
        if value and field != provider.place_field:
            remedy = f"use {provider.place_field}" if provider.place_field else "leave it out"
            raise invalid_field(field, f"is not for provider {provider.key}; {remedy}")
    if not provider.place_field:
        return {}
    place = given[provider.place_field] or provider.default_place
    if not _PLACE.fullmatch(place):
        raise invalid_field(provider.place_field, f"is not a name like {provider.default_place}")
    return {provider.place_field: place}


def _storage(provider: str, prefix: str, environment: str) -> dict[str, str]:
    mode = {"privatePrefixMode": _PREFIX_MODE}
    if provider == "aws":
        return {"bucket": f"{prefix}-{environment}-documents", **mode}
    if provider == "azure":
        account = storage_account_name(prefix, environment)
        return {"account": account, "container": "workspace-documents", **mode}
    return {"folder": ".wm-data/objects", **mode}


def _database(provider: str, prefix: str, environment: str) -> dict[str, str]:
    items = {"itemContainer": _ITEMS}
    if provider == "aws":
        return {"table": f"{prefix}-{environment}", **items}
    if provider == "azure":
        account = f"{prefix}-{environment}-cosmos"
        return {"account": account, "database": "workspace", "container": _ITEMS, **items}
    return {"file": ".wm-data/workspace.sqlite", **items}


# What the value alone gives away. Each pattern is one known form of a credential.
_SECRET_VALUES: Final = tuple(
    re.compile(pattern, flags)
    for pattern, flags in (
        (r"(?<![A-Z0-9])(AKIA|ASIA|ABIA|ACCA)[A-Z2-7]{16}(?![A-Z0-9])", 0),
        (r"(^|[?&;\s])sig(=|%3d)[^&\s]", re.IGNORECASE),
        (r"x-amz-(signature|credential|security-token)(=|%3d)", re.IGNORECASE),
        (r"(account\s*key|shared\s*access\s*key|shared\s*access\s*signature)\s*=", re.IGNORECASE),
        (
            r"(^|[;?&\s])(password|passwd|pwd|client_?secret|secret|api_?key|access_?token)\s*=\s*\S",
            re.IGNORECASE,
        ),
        (r"^shared\s*access\s*signature\s", re.IGNORECASE),
        (r"[a-z][a-z0-9+.-]*://[^/\s:@]*:[^/\s@]+@", re.IGNORECASE),
        (r"eyJ[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]{4,}\.[A-Za-z0-9_-]*", 0),
        (r"-----BEGIN [A-Z0-9 ]*PRIVATE KEY", 0),
        (r"^\s*(bearer|basic)\s+[A-Za-z0-9+/=._~-]{12,}", re.IGNORECASE),
        # 64 bytes in base64: storage and Cosmos account keys.
        (r"(?<![A-Za-z0-9+/])[A-Za-z0-9+/]{86}==(?!=)", 0),
        # Entra client secrets.
        (r"(?<![A-Za-z0-9])[A-Za-z0-9_~.-]{3}[0-9]Q~[A-Za-z0-9_~.-]{31,34}", 0),
        (r"(?<![A-Za-z0-9])(gh[pousr]_[A-Za-z0-9]{36}|xox[abprs]-[A-Za-z0-9-]{10,})", 0),
    )
)
# 40 characters of base64 in mixed case: an AWS secret access key. Hex (a commit id) is not.
_AWS_SECRET: Final = re.compile(r"(?=.*[a-z])(?=.*[A-Z])(?=.*[0-9/+])[A-Za-z0-9/+]{40}")

# A key that ends like this names a secret, unless its value only points to one.
_SECRET_KEY: Final = re.compile(
    r"(password|passwd|passphrase|secret|credential|token|authorization|cookie|"
    r"accountkey|accesskey|sharedkey|masterkey|privatekey|apikey|signingkey|saskey|"
    r"connectionstring)$"
)
# Too short to be looked for inside other words (atlas).
_SECRET_WORDS: Final = frozenset(["pwd", "sas", "jwt", "bearer"])
_WORDS: Final = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+")

# What else is no secret where one is expected: names of variables and of other stores, flags.
_POINTER: Final = re.compile(
    r"(\$\{?[A-Za-z_][A-Za-z0-9_]*\}?|arn:[a-z0-9-]+:kms:[\w:/.+=@-]+|"
    r"@Microsoft\.(KeyVault|AppConfiguration)\([^)]*\)|keychain:[\w./-]+|true|false|none|null)",
    re.IGNORECASE,
)


def looks_like_secret(key: str, value: object) -> bool:
    """Whether a setting seems to hold a credential, by its value or by its key.

    By value: AWS keys, SAS signatures, account keys, connection strings, URLs
    with a password, JWTs, private keys, client secrets. By key: names that end
    in password, secret, token, account_key, ... with a text that is not a mere
    reference (`env:NAME`, an ARN, a Key Vault URL; see secret_references).
    """
    if isinstance(value, bytes):
        value = value.decode("utf-8", "replace")
    if not isinstance(value, str):
        return isinstance(value, int) and not isinstance(value, bool) and _names_secret(key)
    text = value.strip()
    if not text:
        return False
    if any(pattern.search(text) for pattern in _SECRET_VALUES) or _AWS_SECRET.fullmatch(text):
        return True
    points = is_secret_reference(text) or bool(_POINTER.fullmatch(text))
    return _names_secret(key) and not points


def refuse_secrets(settings: Mapping[str, object], *, field: str = "") -> None:
    """Raise SECRET_REFUSED naming the first setting that looks like a secret, at any depth.

    Neither the message nor the metadata holds the value.
    """
    for path, key, value in _leaves(settings, field):
        if looks_like_secret(key, value):
            remedy = (
                "looks like a secret; keep credentials in the cloud CLI profile, managed "
                "identity, a secret store or the environment, and name only resources here"
            )
            raise WorkspaceError(
                Reason.ERROR_REASON_SECRET_REFUSED,
                f"{path}: {remedy}",
                metadata={"field": path},
                violations=[FieldViolation(path, remedy)],
            )


def _names_secret(key: str) -> bool:
    words = [word.lower() for word in _WORDS.findall(key)]
    if not words:
        return False
    return words[-1] in _SECRET_WORDS or bool(_SECRET_KEY.search("".join(words)))


def _leaves(value: object, path: str, key: str = "") -> Iterator[tuple[str, str, object]]:
    """Every leaf with its path and the nearest key. A list's items inherit its key."""
    if isinstance(value, Mapping):
        for name, inner in value.items():
            # A secret may hide in the key itself; then the path must not repeat it.
            shown = "(key)" if looks_like_secret("", str(name)) else str(name)
            inner_path = f"{path}.{shown}" if path else shown
            if shown == "(key)":
                yield inner_path, "", str(name)
            yield from _leaves(inner, inner_path, str(name))
    elif isinstance(value, list | tuple):
        for index, inner in enumerate(value):
            yield from _leaves(inner, f"{path}[{index}]", key)
    else:
        yield path, key, value
