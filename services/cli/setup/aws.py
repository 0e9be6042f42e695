"""`wm setup aws`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import typer

from services.cli.failures import usage
from services.cli.options import options_of
from services.cli.output import print_json
from services.cli.setup import options as flags
from services.cli.setup.job import Asked, run_setup

if TYPE_CHECKING:
    from services.aws.setup.names import Target

__all__ = ["aws"]


def aws(
    ctx: typer.Context,
    prefix: str = flags.PREFIX,
    environment: str = flags.ENVIRONMENT,
    region: str = typer.Option("", "--region", help="Default: backend.toml, AWS_REGION."),
    backend: Path = flags.BACKEND,
    dry_run: bool = flags.DRY_RUN,
    check: bool = flags.CHECK,
    write: bool = flags.WRITE,
    force: bool = flags.FORCE,
    yes: bool = flags.YES,
    tag: list[str] = typer.Option([], "--tag", help="KEY=VALUE, beside AWS_TAGS; repeatable."),
    allow_origin: list[str] = flags.ALLOW_ORIGIN,
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
    from services.aws.setup import names

    flagged = names.Asked(
        prefix, environment, region, tuple(tag), tuple(allow_origin), kms_key, keep_versions
    )
    target = names.find_target(flagged, backend_file=backend)
    if policy:
        _print_policy(policy, target)
        return
    from services.aws.setup.job import AwsSetup

    asked = Asked(
        "aws", backend, "storage.bucket, database.table and region", dry_run=dry_run,
        check=check, write=write, force=force, yes=yes, as_json=options_of(ctx).json,
    )  # fmt: skip
    run_setup(asked, lambda: AwsSetup(target), target.selection)


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
