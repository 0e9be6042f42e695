"""`wm export` on the command line."""

from __future__ import annotations

import asyncio
import os
import sys
from pathlib import Path

import typer

from services.cli.arguments import PROJECT
from services.cli.client import Session, in_session
from services.cli.exit_codes import ExitCode
from services.cli.exporting.run import Export, Summary
from services.cli.exporting.tree import ExportTree
from services.cli.failures import usage
from services.cli.lists import pairs_of, print_pairs
from services.cli.options import Options, options_of
from services.cli.output import counted, human_bytes, print_json, print_line
from services.cli.resolve import project_id_of

app = typer.Typer(add_completion=False)


@app.command()
def export(
    ctx: typer.Context,
    project: str = PROJECT,
    folder: Path = typer.Argument(metavar="DIR", help="Folder to write into; made when absent."),
    force: bool = typer.Option(False, "--force", help="Replace files that differ."),
    archived: bool = typer.Option(False, "--archived", help="Archived documents, too."),
    workers: int = typer.Option(8, "--workers", min=1, max=64, help="Files at a time."),
    retry_for: float = typer.Option(
        30.0, "--retry-for", min=0, help="Seconds to wait for a server that does not answer."
    ),
) -> None:
    """Export a project as a folder. Every file is verified by its checksum.

    Repeating it fetches only what is missing. File modes, owners and empty
    folders are not kept in a project and do not come back.
    """
    options = options_of(ctx)
    if os.path.lexists(folder) and not folder.is_dir():
        raise usage(f"{folder} is a file, not a folder", remedy="name a folder to write into")
    tree = ExportTree(folder, force=force)

    async def work(session: Session) -> int:
        job = Export(
            session, await project_id_of(session, project), tree,
            archived=archived, workers=workers, patience=retry_for, shown=not options.json,
        )
        try:
            return _report(options, await job.run())
        except asyncio.CancelledError:  # Ctrl-C: say what is there by now
            _report(options, job.summary)
            sys.stderr.write(
                f"Interrupted; {counted(job.summary.not_tried, 'file')} left. "
                "Run the same command again: it goes on from here.\n"
            )
            raise

    try:
        code = in_session(options, work)
    finally:
        tree.close()
    raise typer.Exit(code)


def _report(options: Options, summary: Summary) -> int:
    code = ExitCode.PARTLY_FAILED if summary.failed else ExitCode.OK
    if summary.unavailable:
        code = ExitCode.UNAVAILABLE
    if options.json:
        print_json(
            {
                "exported": summary.exported,
                "unchanged": summary.unchanged,
                "not_tried": summary.not_tried,
                "failed": pairs_of(summary.failed),
                "skipped": pairs_of(summary.skipped),
                "bytes_received": summary.bytes_received,
                "seconds": round(summary.seconds, 3),
            }
        )
        return code
    seconds = max(summary.seconds, 0.001)
    print_line(
        f"{summary.exported} {'file' if summary.exported == 1 else 'files'} exported, "
        f"{summary.unchanged} unchanged, "
        f"{len(summary.skipped)} skipped, {len(summary.failed)} failed in {summary.seconds:.1f} s "
        f"({summary.exported / seconds:.0f} files/s, "
        f"{human_bytes(summary.bytes_received / seconds)}/s)."
    )
    print_pairs("Skipped", summary.skipped)
    print_pairs("Failed", summary.failed)
    if summary.unavailable:
        print_line(
            f"The workspace stopped answering; {counted(summary.not_tried, 'file')} left. "
            "Run the same command again: it goes on from here."
        )
    return code
