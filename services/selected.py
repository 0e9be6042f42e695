"""How the settings choose a cloud, whichever it is: by `backend.toml`, and by variables that
its tools know."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

from services.model.errors import invalid_field
from services.model.selection import selected_text

if TYPE_CHECKING:
    from services.settings import Settings

__all__ = ["check_name", "fields_of_environment", "fields_of_selection"]

S = TypeVar("S", bound="Settings")


def fields_of_selection(
    settings: Settings,
    selection: Mapping[str, Any],
    paths: Mapping[str, Sequence[str]],
    **fixed: str,
) -> dict[str, Any]:
    """What the file says of fields, each at its path, and what is `fixed` by its provider;
    without what was set otherwise. Raises INVALID_FIELD for what is no text."""
    name = settings.backend_file.name
    found = {field: selected_text(selection, name, *path) for field, path in paths.items()}
    return {
        field: value
        for field, value in {**fixed, **found}.items()
        if value and field not in settings.model_fields_set
    }


def fields_of_environment(
    settings: S, variables: Mapping[str, Sequence[str]], environment: Mapping[str, str]
) -> S:
    """Fill what is not set from the first of its variables that says something."""
    found = {
        field: value
        for field, names in variables.items()
        if not getattr(settings, field)
        and (value := next(filter(None, map(environment.get, names)), ""))
    }
    return settings.model_copy(update=found)


def check_name(
    settings: Settings, field: str, pattern: re.Pattern[str], form: str, *, cloud: str,
    variable: str,
) -> None:  # fmt: skip
    """Raises INVALID_FIELD for a field without a value, or of another `form`."""
    value = getattr(settings, field)
    if not value:
        raise invalid_field(
            f"WM_{field.upper()}",
            f"is needed on {cloud}: set it, or {variable}, or name it in backend.toml "
            f"(`wm init --provider {cloud.lower()}`)",
        )
    if not pattern.fullmatch(value):
        raise invalid_field(f"WM_{field.upper()}", f"'{value}' must be {form}")
