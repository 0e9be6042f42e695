"""Where a setup goes: the settings of `wm serve`, and the selection that is there."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from pydantic import ValidationError

from services.config import load_selection
from services.model.errors import invalid_field
from services.settings import Settings

__all__ = ["check_origins", "layered", "selection_there", "settings_for"]


def settings_for(backend_file: Path, *, records: str, objects: str) -> Settings:
    """The `WM_*` variables; a provider is chosen by the command itself. Raises
    INVALID_FIELD naming the variable."""
    given: dict[str, Any] = {"records": records, "objects": objects, "backend_file": backend_file}
    try:
        return Settings(**given)
    except ValidationError as error:
        first = error.errors()[0]
        name = "_".join(map(str, first["loc"])).upper()
        raise invalid_field(f"WM_{name}", first["msg"]) from None


def layered(
    settings: Settings,
    *,
    named: Mapping[str, str],
    selected: Callable[[Settings], Mapping[str, Any]],
    from_environment: Callable[[Settings], Settings],
    derived: Mapping[str, str],
) -> Settings:
    """Flags (`named`), then the settings, then what a file `selected`, then the variables
    of the provider's tools, and what is `derived` where all are silent."""
    settings = settings.model_copy(update=dict(named))
    found = {key: value for key, value in selected(settings).items() if key not in named}
    settings = from_environment(settings.model_copy(update=found))
    silent = {key: value for key, value in derived.items() if not getattr(settings, key)}
    return settings.model_copy(update=silent)


def selection_there(path: Path, provider: str) -> dict[str, Any]:
    """The selection in a file, empty where there is no file. Raises INVALID_FIELD for one
    of another provider."""
    if not path.exists():
        return {}
    selection = load_selection(path)
    if selection["provider"] != provider:
        shown = {"aws": "AWS", "azure": "Azure"}[provider]
        raise invalid_field(
            f"{path}: provider",
            f"is {selection['provider']}: write a selection of {shown} with `wm init --provider "
            f"{provider} --force`, or name another file with --backend",
        )
    return selection


def check_origins(origins: tuple[str, ...]) -> None:
    """Raises INVALID_FIELD for what is no origin of a web page (RFC 6454)."""
    for origin in origins:
        parts = urlsplit(origin)
        local = parts.hostname in ("localhost", "127.0.0.1", "::1")
        good = parts.scheme == "https" or (parts.scheme == "http" and local)
        bare = f"{parts.scheme}://{parts.netloc}" == origin and "*" not in origin
        if not (good and parts.hostname and bare and parts.username is None):
            raise invalid_field("--allow-origin", "must be like https://app.example.com")
