"""A command group that imports a command's module when it is asked for.

`wm serve` has to answer within 1.5 s, so it must not pay for every other verb.
"""

from __future__ import annotations

import importlib
from typing import Any

import typer
from typer.core import TyperGroup

from services.cli.options import common_parameters

__all__ = ["COMMANDS", "LazyGroup"]

COMMANDS: dict[str, str] = {
    "serve": "services.cli.serve",
    "init": "services.cli.init",
    "setup": "services.cli.setup.command",
    "login": "services.cli.login",
    "logout": "services.cli.logout",
    "whoami": "services.cli.whoami",
    "link": "services.cli.link",
    "tokens": "services.cli.tokens",
    "keys": "services.cli.keys",
    "certs": "services.cli.certs",
    "migrate": "services.cli.migrate",
    "health": "services.cli.health",
    "accounts": "services.cli.accounts",
    "teams": "services.cli.teams",
    "projects": "services.cli.projects",
    "grants": "services.cli.grants",
    "documents": "services.cli.documents",
    "files": "services.cli.documents",
    "import": "services.cli.importing.command",
    "export": "services.cli.exporting.command",
    "get": "services.cli.getting",
    "put": "services.cli.putting",
    "check": "services.cli.check",
    "preview": "services.cli.preview",
    "search": "services.cli.search",
    "watch": "services.cli.watch",
    "activity": "services.cli.activity",
    "audit": "services.cli.audit",
    "invitations": "services.cli.invitations",
    "access": "services.cli.access",
    "preferences": "services.cli.preferences",
    "users": "services.cli.users",
    "webhooks": "services.cli.webhooks",
    "connections": "services.cli.connections",
    "relocate": "services.cli.relocate",
    "transfers": "services.cli.transfers",
    "sync": "services.cli.sync",
    "parity": "services.cli.parity",
    "doctor": "services.cli.doctor.command",
    "backup": "services.cli.backup",
    "restore": "services.cli.restore",
}
"""Name of the command -> the module whose `app` it is."""


class LazyGroup(TyperGroup):
    """The root group. Sub-commands are loaded by name and kept."""

    def list_commands(self, ctx: Any) -> list[str]:  # noqa: ARG002
        """All names, in the order of the table."""
        return list(COMMANDS)

    def get_command(self, ctx: Any, cmd_name: str) -> Any:  # noqa: ARG002
        """The command, imported now; None for an unknown name."""
        if cmd_name not in COMMANDS:
            return None
        if cmd_name not in self.commands:
            module = importlib.import_module(COMMANDS[cmd_name])
            command = typer.main.get_command(module.app)
            command.name = cmd_name
            _add_common(command)
            self.commands[cmd_name] = command
        return self.commands[cmd_name]

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        """As usual; a mistyped name is compared with every name there is."""
        try:
            return self._click_resolve_command(ctx, args)
        except typer.TyperException as error:
            close = _close(args)
            if close and hasattr(error, "message"):
                error.message = f"{error.message.rstrip('.')}. Did you mean {close}?"
            raise


def _close(args: list[str]) -> str:
    from difflib import get_close_matches

    return ", ".join(repr(m) for m in get_close_matches(args[0] if args else "", COMMANDS))


def _add_common(command: Any) -> None:
    """Put the common options on every command below (groups hold none)."""
    for inner in getattr(command, "commands", {}).values():
        _add_common(inner)
    if not hasattr(command, "commands"):
        command.params.extend(common_parameters())
