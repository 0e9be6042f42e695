"""Tags of resources, as people give them, and what of them is missing."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from services.model.errors import invalid_field
from services.model.selection import refuse_secrets

__all__ = ["TagRules", "default_tags", "missing_tags"]


@dataclass(frozen=True, slots=True)
class TagRules:
    """What a provider takes. `variable` names the variable that has tags, `takes` says for
    people what `allowed` is, `reserved` are beginnings of the provider's own names."""

    variable: str
    allowed: re.Pattern[str]
    takes: str
    reserved: tuple[str, ...]
    max_key: int
    max_value: int
    max_tags: int

    def parse(self, texts: Iterable[str], *, field: str = "") -> dict[str, str]:
        """`Key=Value,Other=Value` (or one a text). Raises INVALID_FIELD, SECRET_REFUSED."""
        field = field or self.variable
        found: dict[str, str] = {}
        for pair in (part.strip() for text in texts for part in text.split(",")):
            if not pair:
                continue
            key, sign, value = pair.partition("=")
            if not sign or not key.strip():
                raise invalid_field(field, "must be like Team=Docs,CostCenter=42")
            found[key.strip()] = value.strip()
        for key, value in found.items():
            self._check(field, key, value)
        if len(found) > self.max_tags:
            raise invalid_field(field, f"has more than {self.max_tags} tags")
        refuse_secrets(found, field=field)
        return found

    def shown(self, tags: Mapping[str, str]) -> str:
        """For people; the provider's own tags are left out."""
        mine = {key: value for key, value in tags.items() if not self._is_reserved(key)}
        return ", ".join(f"{key}={value}" for key, value in sorted(mine.items()))

    def _check(self, field: str, key: str, value: str) -> None:
        if self._is_reserved(key):
            begin = ", ".join(self.reserved)
            raise invalid_field(field, f"'{key}': names that begin with {begin} are reserved")
        if len(key) > self.max_key or len(value) > self.max_value:
            raise invalid_field(
                field, f"a key has at most {self.max_key}, a value {self.max_value} characters"
            )
        if not (self.allowed.fullmatch(key) and self.allowed.fullmatch(value)):
            raise invalid_field(field, f"takes {self.takes}")

    def _is_reserved(self, key: str) -> bool:
        return key.lower().startswith(self.reserved)


def default_tags(environment: str) -> dict[str, str]:
    """The tags every resource of a deployment has; the templates say the same."""
    return {"Application": "workspace-management", "Environment": environment}


def missing_tags(wanted: Mapping[str, str], there: Mapping[str, str]) -> dict[str, str]:
    """What of `wanted` is not there with that value."""
    return {key: value for key, value in wanted.items() if there.get(key) != value}
