"""`wm import` on the command line."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path
from typing import Any

import typer

from services.cli.client import Session, in_session
from services.cli.exit_codes import ExitCode
from services.cli.failures import usage
from services.cli.importing.plan import require_folder
from services.cli.importing.run import Import, Summary, Tree, read_tree
from services.cli.lists import pairs_of, print_pairs
from services.cli.options import Options, options_of
from services.cli.output import counted, human_bytes, print_json, print_line
from services.cli.resolve import project_id_of

app = typer.Typer(add_completion=False)


@app.command("import")
def import_(
    ctx: typer.Context,
    folder: Path = typer.Argument(metavar="DIR", help="Folder to import."),
    project: str = typer.Option(..., "--project", "-p", help="Project, by id or name."),
    into: str = typer.Option("", "--into", help="Folder in the project; default its root."),
    workers: int = typer.Option(8, "--workers", min=1, max=64, help="Files at a time."),
    ignore_file: str = typer.Option(
        ".wmignore", "--ignore-file", help="File in DIR with patterns (gitignore syntax)."
    ),
    exclude: list[str] = typer.Option([], "--exclude", help="A further pattern; repeatable."),
    dry_run: bool = typer.Option(False, "--dry-run", help="Say what would be done, do nothing."),
    retry_for: float = typer.Option(
        30.0, "--retry-for", min=0, help="Seconds to wait for a server that does not answer."
    ),
) -> None:
    """Import a folder. Repeating it goes on where it stopped and sends only changes.

    Links are not followed and empty folders have no place in a project: both
    are reported. Exit code 9 when some files failed.
    """
    if not folder.is_dir():
        raise usage(f"{folder} is no folder")
    require_folder(into)
    options = options_of(ctx)
    tree = read_tree(folder, into=into, ignore_file=ignore_file, exclude=exclude)

    async def work(session: Session) -> int:
        job = Import(
            session, await project_id_of(session, project),
            into=into, workers=workers, patience=retry_for, shown=not options.json,
        )
        if dry_run:
            return await _dry_run(job, tree, options)
        try:
            return _report(options, await job.run(tree))
        except asyncio.CancelledError:  # Ctrl-C: say what is there by now
            if job.summary is not None:
                _report(options, job.summary)
                _say_interrupted(job.summary.not_tried)
            raise

    raise typer.Exit(in_session(options, work))


def _say_interrupted(left: int) -> None:
    sys.stderr.write(
        f"Interrupted; {counted(left, 'file')} left. "
        "Run the same command again: it goes on from here.\n"
    )


async def _dry_run(job: Import, tree: Tree, options: Options) -> int:
    counts = await job.plan(tree)
    shown: dict[str, Any] = {action.value: count for action, count in counts.items()}
    shown |= {"refused": pairs_of(tree.refused), "skipped": pairs_of(tree.skipped)}
    shown |= {"ignored": tree.ignored, "bytes": tree.size}
    if options.json:
        print_json(shown)
        return ExitCode.OK
    print_line(
        f"Would create {shown['create']}, finish {shown['resume']}, revise {shown['revise']}, "
        f"compare {shown['compare']} by checksum ({human_bytes(tree.size)} in all)."
    )
    print_pairs("Would skip", tree.skipped)
    print_pairs("Would be refused", tree.refused)
    return ExitCode.OK


def _report(options: Options, summary: Summary) -> int:
    code = ExitCode.OK
    if summary.failed:
        code = ExitCode.PARTLY_FAILED
    if summary.unavailable:
        code = ExitCode.UNAVAILABLE
    if options.json:
        print_json(_members(summary))
    else:
        _print(summary)
    return code


def _members(summary: Summary) -> dict[str, Any]:
    seconds = max(summary.seconds, 0.001)
    moved = summary.imported + summary.revised
    return {
        "imported": summary.imported,
        "revised": summary.revised,
        "unchanged": summary.unchanged,
        "ignored": summary.ignored,
        "not_tried": summary.not_tried,
        "failed": pairs_of(summary.failed),
        "skipped": pairs_of(summary.skipped),
        "renamed": summary.renamed,
        "bytes_sent": summary.bytes_sent,
        "seconds": round(summary.seconds, 3),
        "files_per_second": round((moved + summary.unchanged) / seconds, 1),
    }


def _print(summary: Summary) -> None:
    shown = _members(summary)
    speed = human_bytes(summary.bytes_sent / max(summary.seconds, 0.001))
    print_line(
        f"{summary.imported} {'file' if summary.imported == 1 else 'files'} imported, "
        f"{summary.revised} revised, {summary.unchanged} unchanged, "
        f"{len(summary.skipped)} skipped, {len(summary.failed)} failed "
        f"in {summary.seconds:.1f} s ({shown['files_per_second']} files/s, {speed}/s)."
    )
    if summary.ignored:
        print_line(f"{counted(summary.ignored, 'entry', 'entries')} left out by ignore patterns.")
    print_pairs("Skipped", summary.skipped)
    print_pairs("Stored under the NFC form of the name", [(name, "") for name in summary.renamed])
    print_pairs("Failed", summary.failed)
    if summary.unavailable:
        print_line(
            f"The workspace stopped answering; {counted(summary.not_tried, 'file')} left. "
            "Run the same command again: it goes on from here."
        )
