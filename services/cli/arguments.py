"""Arguments that many verbs share, and update masks from what was given."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import typer
from google.protobuf.field_mask_pb2 import FieldMask

from services.cli.failures import usage

__all__ = ["ACCOUNT", "DOCUMENT", "LIMIT", "MEMBER", "PROJECT", "TEAM", "given_or_empty", "mask_of"]

ACCOUNT = typer.Argument(metavar="ACCOUNT", help="Id or name of an account.")
TEAM = typer.Argument(metavar="TEAM", help="Id or name of a team.")
PROJECT = typer.Argument(metavar="PROJECT", help="Id or name of a project.")
MEMBER = typer.Argument(metavar="WHO", help="User id, e-mail address, or `me`.")
DOCUMENT = typer.Argument(
    metavar="DOCUMENT", help="Id, or PROJECT:folder/name, or folder/name with --project."
)
LIMIT = typer.Option(0, "--limit", min=0, help="At most so many; 0: all.", show_default=False)


def mask_of(changed: Mapping[str, Any]) -> tuple[dict[str, Any], FieldMask]:
    """The fields that were given (not None) and their mask; '' empties a field."""
    given = {name: value for name, value in changed.items() if value is not None}
    if not given:
        raise usage("nothing to change", remedy="name at least one field; see --help")
    # An enum that is emptied is its zero value.
    values = {name: value for name, value in given.items() if value != ""}
    return values, FieldMask(paths=list(given))


def given_or_empty(values: Mapping[str, Any]) -> dict[str, Any]:
    """Without what is empty: unset stays unset."""
    return {name: value for name, value in values.items() if value not in ("", None)}
