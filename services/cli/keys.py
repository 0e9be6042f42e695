"""`wm keys`: the key files of a deployment, and the secret that replicas take them from."""

from __future__ import annotations

import asyncio

import typer

from services.cli.options import options_of
from services.cli.output import print_json, print_line
from services.config import load_settings

app = typer.Typer(
    add_completion=False, no_args_is_help=True,
    help="Key files, and the secret (WM_KEYS_SECRET) that replicas take them from.",
)


@app.callback()
def _group() -> None:
    """One sub-command, and a name for those to come."""


@app.command()
def push(ctx: typer.Context) -> None:
    """Put the key files of this machine into the secret that WM_KEYS_SECRET names.

    Replicas that start take them from there, and those that run follow new signing keys
    within minutes. Keys of another deployment are never replaced.
    """
    from services.secrets.keys import push_keys

    options = options_of(ctx)
    settings = load_settings(data_dir=options.data_dir)
    first = asyncio.run(push_keys(settings))
    if options.json:
        print_json({"secret": settings.keys_secret, "first": first})
    else:
        print_line(f"{settings.keys_secret} has {'its first keys' if first else 'these keys now'}.")
