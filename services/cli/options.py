"""The options every command takes, before or after the command's name."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

if TYPE_CHECKING:
    from services.cli.trust import Reached

__all__ = ["DEFAULT_DATA", "Options", "common_parameters", "options_of"]

DEFAULT_DATA = Path(".wm-data")


@dataclass(slots=True)
class Options:
    """Filled while the command line is parsed, read by the command."""

    server: str = ""
    json: bool = False
    data: Path | None = None
    as_email: str = ""
    ca: Path | None = None
    reached: Reached | None = None
    """The server that the command talks to, once it is known."""

    @property
    def data_dir(self) -> Path:
        """The data folder: --data, WM_DATA_DIR or `.wm-data` here."""
        return self.data or Path(os.environ.get("WM_DATA_DIR") or DEFAULT_DATA)


def options_of(ctx: typer.Context) -> Options:
    """The one Options object of this command line."""
    root = ctx.find_root()
    if not isinstance(root.obj, Options):
        root.obj = Options()
    found: Options = root.obj
    return found


def common_parameters() -> list[Any]:
    """Fresh parameter objects of the common options, for one command."""
    template = typer.Typer(add_completion=False)
    template.command()(_template)
    command = typer.main.get_command(template)
    return [parameter for parameter in command.params if parameter.name != "help"]


def _set_server(ctx: typer.Context, value: str) -> str:
    if value:
        options_of(ctx).server = value
    return value


def _set_json(ctx: typer.Context, value: bool) -> bool:
    if value:
        options_of(ctx).json = True
    return value


def _set_data(ctx: typer.Context, value: Path | None) -> Path | None:
    if value is not None:
        options_of(ctx).data = value
    return value


def _set_ca(ctx: typer.Context, value: Path | None) -> Path | None:
    if value is not None:
        options_of(ctx).ca = value
    return value


def _set_as(ctx: typer.Context, value: str) -> str:
    if value:
        options_of(ctx).as_email = value
    return value


_PANEL = "Options of every command"


def _template(
    server: str = typer.Option(
        "", "--server", metavar="HOST:PORT", callback=_set_server, expose_value=False,
        help="gRPC address of the workspace; default WM_SERVER, then the data folder's process.",
        rich_help_panel=_PANEL, show_default=False,
    ),
    json: bool = typer.Option(
        False, "--json", callback=_set_json, expose_value=False,
        help="Print JSON instead of tables.", rich_help_panel=_PANEL, show_default=False,
    ),
    data: Path | None = typer.Option(
        None, "--data", metavar="DIR", callback=_set_data, expose_value=False,
        help="Data folder of a local workspace; default WM_DATA_DIR, then .wm-data.",
        rich_help_panel=_PANEL, show_default=False,
    ),
    ca: Path | None = typer.Option(
        None, "--ca", metavar="FILE", callback=_set_ca, expose_value=False,
        help="Authority of the server's certificate (PEM); default WM_CA, then the one of its "
        "sign-in, then the public ones.",
        rich_help_panel=_PANEL, show_default=False,
    ),
    as_email: str = typer.Option(
        "", "--as", metavar="EMAIL", callback=_set_as, expose_value=False,
        help="Act as this signed-in person; default WM_AS, then the last one signed in.",
        rich_help_panel=_PANEL, show_default=False,
    ),
) -> None:
    """Only its parameters are used."""
