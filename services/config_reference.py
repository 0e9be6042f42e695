"""`docs/operations/configuration.md`, written from the settings.

Run by `make generate`: python -m services.config_reference > docs/...
"""

from __future__ import annotations

import sys
from typing import Any

from services.settings import Settings

__all__ = ["config_reference"]

_HEAD = """# Configuration

Generated from `services/settings.py`; do not edit. Sources, strongest first: flags of
`wm serve`, environment variables, the defaults below. Which provider a deployment
uses stands in `backend.toml` (`wm init`), which never holds a secret. A value that
is refused names its variable.

| variable | default | meaning |
|---|---|---|
"""


def config_reference() -> str:
    """The whole page as Markdown."""
    rows = [
        f"| `WM_{name.upper()}` | {_default(field.default)} | {field.description} |"
        for name, field in Settings.model_fields.items()
    ]
    return _HEAD + "\n".join(rows) + "\n"


def _default(value: Any) -> str:
    return "" if value is None or value == "" else f"`{value}`"


if __name__ == "__main__":
    sys.stdout.write(config_reference())
