"""Tags: `AWS_TAGS` and `--tag`, and what of them is missing on a resource."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

from services.model.errors import invalid_field
from services.model.selection import refuse_secrets

__all__ = ["as_list", "default_tags", "missing_tags", "parse_tags", "shown_tags"]

_ALLOWED = re.compile(r"[\w .:/=+@-]*")
_MAX_KEY, _MAX_VALUE, _MAX_TAGS = 128, 256, 40


def default_tags(environment: str) -> dict[str, str]:
    """The tags every resource of a deployment has; the templates say the same."""
    return {"Application": "workspace-management", "Environment": environment}


def parse_tags(texts: Iterable[str], *, field: str = "AWS_TAGS") -> dict[str, str]:
    """`Key=Value,Other=Value` (or one a text). Raises INVALID_FIELD, SECRET_REFUSED.

    Limits are those of "Tagging your AWS resources" (General Reference)."""
    found: dict[str, str] = {}
    for pair in (part.strip() for text in texts for part in text.split(",")):
        if not pair:
            continue
        key, sign, value = pair.partition("=")
        if not sign or not key.strip():
            raise invalid_field(field, "must be like Team=Docs,CostCenter=42")
        found[key.strip()] = value.strip()
    for key, value in found.items():
        _check(field, key, value)
    if len(found) > _MAX_TAGS:
        raise invalid_field(field, f"has more than {_MAX_TAGS} tags")
    refuse_secrets(found, field=field)
    return found


def missing_tags(wanted: Mapping[str, str], there: Mapping[str, str]) -> dict[str, str]:
    """What of `wanted` is not there with that value."""
    return {key: value for key, value in wanted.items() if there.get(key) != value}


def as_list(tags: Mapping[str, str]) -> list[dict[str, str]]:
    """In the form of the APIs."""
    return [{"Key": key, "Value": value} for key, value in sorted(tags.items())]


def as_mapping(tags: Iterable[Mapping[str, str]]) -> dict[str, str]:
    """Out of the form of the APIs."""
    return {tag["Key"]: tag["Value"] for tag in tags}


def shown_tags(tags: Mapping[str, str]) -> str:
    """For people; AWS's own tags are left out."""
    return ", ".join(f"{key}={value}" for key, value in sorted(tags.items()) if not _is_own(key))


def _check(field: str, key: str, value: str) -> None:
    if _is_own(key):
        raise invalid_field(field, f"'{key}': names that begin with aws: are reserved")
    if len(key) > _MAX_KEY or len(value) > _MAX_VALUE:
        raise invalid_field(field, f"a key has at most {_MAX_KEY}, a value {_MAX_VALUE} characters")
    if not (_ALLOWED.fullmatch(key) and _ALLOWED.fullmatch(value)):
        raise invalid_field(field, "takes letters, digits, spaces and _ . : / = + - @")


def _is_own(key: str) -> bool:
    return key.lower().startswith("aws:")
