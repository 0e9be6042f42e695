"""`wm setup`: make or harden the resources of a provider."""

from __future__ import annotations

import asyncio
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from services.cli.confirming import confirm_by_typing
from services.cli.exit_codes import ExitCode
from services.cli.failures import CliError, usage
from services.cli.init import render_toml, write_selection
from services.cli.options import options_of
from services.cli.output import counted, print_json, print_line

if TYPE_CHECKING:
    from services.aws.setup.job import Plan
    from services.aws.setup.names import Target
    from services.aws.setup.plan import Step

__all__ = ["app"]

app = typer.Typer(add_completion=False, no_args_is_help=True)
_COLOURS = {"create": "green", "change": "yellow", "keep": None, "leave": "cyan"}


@app.callback()
def setup() -> None:
    """Make or harden the private resources of a provider; never removes anything."""


@app.command("aws")
def aws(
    ctx: typer.Context,
    prefix: str = typer.Option("", "--prefix", help="Begins the names of resources."),
    environment: str = typer.Option("", "--environment", help="dev, prod, ..."),
    region: str = typer.Option("", "--region", help="Default: backend.toml, AWS_REGION."),
    backend: Path = typer.Option(Path("backend.toml"), "--backend", help="Selection to follow."),
    dry_run: bool = typer.Option(False, "--dry-run", help="Print the plan, change nothing."),
    check: bool = typer.Option(False, "--check", help="As --dry-run; exit code 1 on drift."),
    write: bool = typer.Option(False, "--write", help="Write the selection when all is done."),
    force: bool = typer.Option(False, "--force", help="With --write: replace the file."),
    yes: bool = typer.Option(False, "--yes", help="Do not ask."),
    tag: list[str] = typer.Option([], "--tag", help="KEY=VALUE, beside AWS_TAGS; repeatable."),
    allow_origin: list[str] = typer.Option(
        [], "--allow-origin", help="A web origin whose pages use signed URLs; repeatable."
    ),
    kms_key: str = typer.Option("", "--kms-key", help="ARN of your own key; default AWS's."),
    policy: str = typer.Option(
        "", "--policy", metavar="setup|workspace|surface",
        help="Print the IAM policy that setting up, serving or syncing needs, and end.",
    ),
    keep_versions: int | None = typer.Option(
        None, "--keep-versions", min=1, max=3650,
        help="Days that deleted files can be brought back; 30 for a new bucket.",
    ),
) -> None:
    """Make or harden the bucket and the table of a workspace on AWS.

    Says what it will do, asks, and does it; run again it changes nothing. What
    exists is hardened, never removed, and a bucket that is a web site or open
    to the public is refused. Names come from the flags, from backend.toml, and
    from AWS_S3_BUCKET, AWS_DYNAMODB_TABLE, AWS_REGION, AWS_PROFILE, AWS_TAGS.
    """
    from services.aws.setup.names import Asked, find_target

    asked = Asked(
        prefix, environment, region, tuple(tag), tuple(allow_origin), kms_key, keep_versions
    )
    target = find_target(asked, backend_file=backend)
    if policy:
        _print_policy(policy, target)
        return
    write = write and not (dry_run or check)
    if write and backend.exists():
        write = _is_to_be_replaced(backend, target, force=force)
    job = _Job(target, as_json=options_of(ctx).json)
    asyncio.run(job.run(dry_run=dry_run or check, yes=yes))
    if write:
        write_selection(backend, render_toml(target.selection), force=force)
    followed = backend.exists() and _names(backend, target)
    job.conclude(written=backend if write else None, followed=followed)
    if check and job.plan.changes:
        raise typer.Exit(ExitCode.FAILED)


def _print_policy(which: str, target: Target) -> None:
    """For any account: ARNs without one match where the policy is attached."""
    from services.aws.permissions import SETUP, SURFACE, grants_of, policy_document
    from services.aws.setup.desired import partition_of

    tables = {"setup": SETUP, "surface": SURFACE, "workspace": grants_of("workspace")}
    if which not in tables:
        raise usage(f"there is no policy '{which}'", remedy="choose setup, workspace or surface")
    wanted = target.baseline
    values = {
        "AWS::Partition": partition_of(wanted.region), "AWS::Region": wanted.region,
        "AWS::AccountId": "*", "TableName": wanted.table, "BucketName": wanted.bucket,
        "Environment": str(target.selection["environment"]), "KmsKeyArn": wanted.kms_key,
    }
    print_json(policy_document(tables[which], values))


class _Job:
    """One run, told line by line or as one JSON document at its end."""

    plan: Plan

    def __init__(self, target: Target, *, as_json: bool) -> None:
        self._target = target
        self._json = as_json
        self._dry = False
        self._done: list[Step] = []
        self._begun = time.monotonic()

    async def run(self, *, dry_run: bool, yes: bool) -> None:
        from services.aws.clients import AwsClients
        from services.aws.setup.api import SetupApi
        from services.aws.setup.job import apply_plan, make_plan

        self._dry = dry_run
        clients = AwsClients(self._target.place, workers=4)
        try:
            api = SetupApi(clients)
            self.plan = await make_plan(api, self._target.baseline)
            self._say_plan()
            if dry_run or not self.plan.changes:
                return
            confirm_by_typing("yes", self._question(), yes=yes)
            self._begun = time.monotonic()
            await apply_plan(api, self.plan, done=self._tell)
        except Exception:
            self._say_interrupted()
            raise
        finally:
            await clients.close()

    def conclude(self, *, written: Path | None, followed: bool) -> None:
        """What there is now, and the selection that names it, unless it is `followed`."""
        if self._json:
            print_json(self._members(written))
            return
        changes = len(self.plan.changes)
        if not changes:
            print_line("Nothing to change: everything is as it should be.")
        elif self._dry:
            print_line(f"{counted(changes, 'change')} to make. Nothing was changed.")
        else:
            seconds = time.monotonic() - self._begun
            print_line(f"Done: {counted(changes, 'change')} in {seconds:.0f} s.")
        if written is not None:
            print_line(f"Wrote {written}. Next: wm serve")
        elif followed and not self._dry:
            print_line("Next: wm serve")
        elif not self._dry:
            print_line("The selection for backend.toml (--write writes it):")
            sys.stdout.write("\n" + render_toml(self._target.selection))

    def _question(self) -> str:
        changes = counted(len(self.plan.changes), "change")
        return f"This makes {changes} in account {self.plan.account}."

    def _say_plan(self) -> None:
        if self._json:
            return
        wanted = self.plan.wanted
        print_line(f"AWS account {self.plan.account}, region {wanted.region}")
        resource = ""
        for step in self.plan.steps:
            if step.resource != resource:
                resource = step.resource
                print_line(resource)
            _print_step(step)

    def _tell(self, step: Step) -> None:
        self._done.append(step)
        if not self._json:
            number = f"{len(self._done)}/{len(self.plan.changes)}"
            print_line(f"{number:>6}  {step.resource}: {step.name}: {step.wanted}")
            sys.stdout.flush()

    def _say_interrupted(self) -> None:
        """What was done stays, and is said."""
        if not self._done:
            return
        if self._json:
            print_json(self._members(None))
            return
        total = len(self.plan.changes)
        print_line(
            f"Stopped after {len(self._done)} of {total} changes; these stay. Run "
            "`wm setup aws` again to go on."
        )

    def _members(self, written: Path | None) -> dict[str, Any]:
        plan = self.plan
        steps = [{**step.members(), "done": step in self._done} for step in plan.steps]
        return {
            "account": plan.account, "region": plan.wanted.region, "dry_run": self._dry,
            "changes": len(plan.changes), "made": len(self._done), "steps": steps,
            "selection": self._target.selection, "written": str(written or ""),
        }


def _print_step(step: Step) -> None:
    was = f"  (was {step.was})" if step.writes and step.was else ""
    line = f"  {step.verb.value:<6}  {step.name:<22}  {step.wanted}{was}"
    colour = _COLOURS[step.verb.value]
    if colour and sys.stdout.isatty():
        line = typer.style(line, fg=colour)
        sys.stdout.write(line + "\n")
    else:
        print_line(line)


def _names(path: Path, target: Target) -> bool:
    """Whether the selection in a file is that of the target."""
    from services.config import load_selection

    return load_selection(path) == target.selection


def _is_to_be_replaced(path: Path, target: Target, *, force: bool) -> bool:
    """False for a file that says the same: what else is in it stays. Raises CliError for
    one that would be replaced unawares, or that holds more than is written anew."""
    from services.config import load_selection

    there = load_selection(path)
    if there == target.selection:
        return False
    tables = [each for each in there.values() if isinstance(each, dict)]
    if any(isinstance(each, list) for table in (there, *tables) for each in table.values()):
        raise CliError(
            f"{path} names other resources, and holds lists that would be lost",
            remedy="write storage.bucket, database.table and region into it by hand",
            exit_code=ExitCode.CONFLICT,
        )
    if not force:
        raise CliError(
            f"{path} is there already and names other resources",
            remedy="replace it with --force, or name another file with --backend",
            exit_code=ExitCode.CONFLICT,
        )
    return True
