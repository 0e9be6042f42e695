"""`wm logout`: forget a token on this machine."""

from __future__ import annotations

import typer

from services.cli.options import options_of

app = typer.Typer(add_completion=False)


@app.command()
def logout(ctx: typer.Context) -> None:
    """Sign out here; tokens on other machines stay."""
    from services.cli.client import server_of
    from services.cli.output import print_json, print_line
    from services.cli.profile import Profiles

    options = options_of(ctx)
    profiles = Profiles()
    server = server_of(options, profiles)
    gone = profiles.forget(server, options.as_email)
    if options.json:
        print_json({"signed_out": bool(gone), "server": server})
    else:
        print_line(f"Signed out {gone} of {server}." if gone else "Nobody was signed in.")
