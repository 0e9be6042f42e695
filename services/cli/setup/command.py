"""`wm setup`: make or harden the resources of a provider."""

from __future__ import annotations

import typer

from services.cli.setup.aws import aws
from services.cli.setup.azure import azure

__all__ = ["app"]

app = typer.Typer(add_completion=False, no_args_is_help=True)


@app.callback()
def setup() -> None:
    """Make or harden the private resources of a provider; never removes anything."""


app.command("aws")(aws)
app.command("azure")(azure)
