"""`wm doctor` on the command line."""

from __future__ import annotations

import asyncio

import typer

from services.cli.doctor.finding import Finding, healthy, members_of
from services.cli.doctor.run import examine
from services.cli.exit_codes import ExitCode
from services.cli.options import options_of
from services.cli.output import print_json, print_line, print_rows

app = typer.Typer(add_completion=False)


@app.command()
def doctor(ctx: typer.Context) -> None:
    """Check configuration, ports, disk, clock, keys, every record, every file.

    With the server stopped everything is checked; beside a running one only
    what can be seen from outside. Exit code 1 when something is wrong.
    """
    options = options_of(ctx)
    findings = asyncio.run(examine(options.data_dir))
    if options.json:
        print_json(members_of(findings))
    else:
        _print(findings)
    raise typer.Exit(ExitCode.OK if healthy(findings) else ExitCode.FAILED)


def _print(findings: list[Finding]) -> None:
    rows = [(finding.check, finding.verdict.value, finding.detail) for finding in findings]
    print_rows(("check", "verdict", "detail"), rows)
    for finding in findings:
        for example in finding.examples:
            print_line(f"  {finding.check}: {example}")
        if finding.remedy:
            print_line(f"  {finding.check}: {finding.remedy}")
    print_line("Healthy." if healthy(findings) else "Something is wrong; see above.")
