"""`wm init`: write the non-secret backend selection of a deployment."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path

import typer

from services.cli.exit_codes import ExitCode
from services.cli.failures import CliError
from services.cli.options import options_of
from services.cli.output import print_json, print_line
from services.model.selection import (
    DEFAULT_ENVIRONMENT,
    DEFAULT_PREFIX,
    backend_selection,
    refuse_secrets,
)

__all__ = ["app", "render_toml", "write_selection"]

app = typer.Typer(add_completion=False)

_HEADER = """\
# The backend selection of this deployment, written by `wm init`.
# It names resources and holds no secrets: it is safe to commit. Credentials come
# from the environment, the cloud CLI profile, managed identity or a secret store.
"""


@app.command()
def init(
    ctx: typer.Context,
    provider: str = typer.Option(..., "--provider", help="local, aws or azure."),
    environment: str = typer.Option(DEFAULT_ENVIRONMENT, "--environment", help="dev, prod, ..."),
    prefix: str = typer.Option(DEFAULT_PREFIX, "--prefix", help="Begins the names of resources."),
    region: str = typer.Option("", "--region", help="Of aws; default us-east-1."),
    location: str = typer.Option("", "--location", help="Of azure; default eastus."),
    write: Path = typer.Option(Path("backend.toml"), "--write", help="File to write."),
    force: bool = typer.Option(False, "--force", help="Replace a file that is there."),
) -> None:
    """Choose the backend: writes backend.toml, which is safe to commit."""
    refuse_secrets({"prefix": prefix, "environment": environment})
    selection = backend_selection(
        provider=provider, environment=environment, prefix=prefix, region=region, location=location
    )
    refuse_secrets(selection)
    write_selection(write, render_toml(selection), force=force)
    if options_of(ctx).json:
        print_json({"written": str(write), "selection": selection})
        return
    print_line(f"Wrote {write} ({provider}, {environment}). It holds no secrets.")
    option = "" if write == Path("backend.toml") else f" --backend {write}"
    if provider == "local":
        print_line(f"Next: wm serve{option}")
    else:
        print_line(f"Next: wm setup {provider}{option} --dry-run, which says what it would make")


def render_toml(selection: Mapping[str, object]) -> str:
    """The selection as TOML 1.0: plain members first, then one table per group."""
    lines = [_HEADER]
    tables = {name: value for name, value in selection.items() if isinstance(value, Mapping)}
    lines += [f"{name} = {_text(value)}" for name, value in selection.items() if name not in tables]
    for name, members in tables.items():
        lines += ["", f"[{name}]"]
        lines += [f"{key} = {_text(value)}" for key, value in members.items()]
    return "\n".join(lines) + "\n"


def _text(value: object) -> str:
    # A JSON string is a TOML basic string, but for DEL (TOML 1.0, section String).
    return json.dumps(str(value), ensure_ascii=False).replace("\x7f", "\\u007f")


def write_selection(path: Path, text: str, *, force: bool) -> None:
    """Write a file that is not there, or replace one when `force`; never through a link."""
    mode = os.O_TRUNC if force else os.O_EXCL
    try:
        fd = os.open(path, os.O_WRONLY | os.O_CREAT | mode | os.O_NOFOLLOW, 0o644)
    except FileExistsError:
        raise CliError(
            f"{path} is there already",
            remedy="replace it with --force, or name another file with --write",
            exit_code=ExitCode.CONFLICT,
        ) from None
    with os.fdopen(fd, "w", encoding="utf-8") as file:
        file.write(text)
