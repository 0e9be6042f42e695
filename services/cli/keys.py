"""`wm keys`: the key files of a deployment, and the secret that replicas take them from."""

from __future__ import annotations

import asyncio
from pathlib import Path

import typer

from services.cli.failures import usage
from services.cli.options import options_of
from services.cli.output import print_json, print_line
from services.config import load_settings
from services.private_files import make_folder

app = typer.Typer(
    add_completion=False, no_args_is_help=True,
    help="Key files, and the secret (WM_KEYS_SECRET) that replicas take them from.",
)


@app.command()
def new(
    ctx: typer.Context,
    folder: Path = typer.Argument(metavar="DIR", help="Made when it is not there."),
) -> None:
    """Make the key files of a new deployment: for a secret that its processes mount.

    Whoever has them signs as the workspace: keep them where backups are, and nowhere else.
    Key files that are there are never replaced.
    """
    from services.secrets.key_files import install_keys, new_keys, read_keys

    if read_keys(folder):
        raise usage(f"{folder} has key files already", remedy="name another folder")
    make_folder(folder)
    names = install_keys(folder, new_keys())
    if options_of(ctx).json:
        print_json({"folder": str(folder), "files": names})
    else:
        print_line(f"{folder} has {', '.join(names)}.")


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
