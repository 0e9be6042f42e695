"""Entry point of `wm`: the root command, errors and exit codes."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import typer

from services.cli.exit_codes import ExitCode
from services.cli.lazy import LazyGroup
from services.cli.options import Options, common_parameters

__all__ = ["build", "main"]

_HELP = """The workspace on the command line: serve it, sign in, share, import, export.

Every command takes ids or unambiguous names, and --json for programs. Exit
codes: 0 ok, 1 failed, 2 usage, 3 not signed in, 4 denied, 5 not found,
6 conflict, 7 precondition, 8 unavailable, 9 partly failed.
"""


def main(arguments: Sequence[str] | None = None) -> None:
    """Run `wm` and exit the process."""
    os.environ.setdefault("GRPC_VERBOSITY", "NONE")  # its own lines are not for people
    sys.exit(run(list(sys.argv[1:] if arguments is None else arguments)))


def run(arguments: list[str]) -> int:
    """Run one command line; the exit code."""
    options = _options()
    try:
        result = build().main(arguments, prog_name="wm", standalone_mode=False, obj=options)
    except KeyboardInterrupt:
        return ExitCode.INTERRUPTED
    except typer.Abort:
        return ExitCode.INTERRUPTED
    except Exception as error:
        return _report(error, options, arguments)
    return int(result or 0)


def _options() -> Options:
    """What the environment says."""
    ca = os.environ.get("WM_CA", "")
    return Options(
        server=os.environ.get("WM_SERVER", ""),
        as_email=os.environ.get("WM_AS", ""),
        ca=Path(ca) if ca else None,
    )


def build() -> Any:
    """The root command."""
    app = typer.Typer(cls=LazyGroup, name="wm", help=_HELP, no_args_is_help=True)
    app.callback()(_root)
    command = typer.main.get_command(app)
    command.params.extend(common_parameters())
    return command


def _version(wanted: bool) -> None:
    if wanted:
        from importlib.metadata import PackageNotFoundError, version

        try:
            shown = version("workspace-management")
        except PackageNotFoundError:
            shown = "unknown"
        typer.echo(shown)
        raise typer.Exit


def _root(
    _: bool = typer.Option(
        False, "--version", help="Print the version.", is_eager=True,
        callback=_version,
    ),
) -> None:
    """Options only; the sub-commands do the work."""


def _report(error: Exception, options: Options, arguments: list[str]) -> int:
    from services.cli.describing import describe
    from services.cli.failures import Failure, print_failure

    if isinstance(error, BrokenPipeError):  # the reader has seen enough: `wm ... | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return ExitCode.OK
    as_json = options.json or "--json" in arguments
    if isinstance(error, typer.TyperException):
        if type(error).__name__ == "NoArgsIsHelpError":
            error.show()  # type: ignore[attr-defined]
            return ExitCode.USAGE
        text = error.format_message() if hasattr(error, "format_message") else str(error)
        hint = f"see `{_command_of(error)} --help`"
        print_failure(Failure(ExitCode.USAGE, text, hint), as_json=as_json)
        return ExitCode.USAGE
    if os.environ.get("WM_DEBUG") == "1":
        import traceback

        traceback.print_exception(error)
    failure = describe(error)
    if options.reached is not None:
        from services.cli.probing import with_probe

        failure = with_probe(failure, options.reached)
    print_failure(failure, as_json=as_json)
    return failure.exit_code


def _command_of(error: Any) -> str:
    ctx = getattr(error, "ctx", None)
    return ctx.command_path if ctx is not None else "wm"


if __name__ == "__main__":
    main()
