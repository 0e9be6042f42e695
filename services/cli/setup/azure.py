"""`wm setup azure`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import typer

from services.cli.failures import usage
from services.cli.options import options_of
from services.cli.output import print_line
from services.cli.setup import options as flags
from services.cli.setup.job import Asked, run_setup

if TYPE_CHECKING:
    from services.azure.setup.names import Target

__all__ = ["azure"]


def azure(
    ctx: typer.Context,
    prefix: str = flags.PREFIX,
    environment: str = flags.ENVIRONMENT,
    location: str = typer.Option("", "--location", help="Default: backend.toml, AZURE_LOCATION."),
    resource_group: str = typer.Option(
        "", "--resource-group", help="Default: AZURE_RESOURCE_GROUP, else PREFIX-ENVIRONMENT."
    ),
    subscription: str = typer.Option(
        "", "--subscription", help="Its id; default: AZURE_SUBSCRIPTION_ID, else the only one."
    ),
    backend: Path = flags.BACKEND,
    dry_run: bool = flags.DRY_RUN,
    check: bool = flags.CHECK,
    write: bool = flags.WRITE,
    force: bool = flags.FORCE,
    yes: bool = flags.YES,
    tag: list[str] = typer.Option([], "--tag", help="KEY=VALUE, beside AZURE_TAGS; repeatable."),
    allow_origin: list[str] = flags.ALLOW_ORIGIN,
    serverless: bool = typer.Option(
        False, "--serverless", help="A new Cosmos DB account is paid by request, for ever."
    ),
    free_tier: bool | None = typer.Option(
        None, "--free-tier/--no-free-tier",
        help="A new Cosmos DB account takes the free tier; default "
        "AZURE_COSMOS_ENABLE_FREE_TIER, else not.",
    ),
    max_throughput: int = typer.Option(
        1000, "--max-throughput", min=1000, max=1_000_000,
        help="RU/s to which a new container scales; a tenth is always paid for.",
    ),
    keep_versions: int | None = typer.Option(
        None, "--keep-versions", min=1, max=365,
        help="Days that deleted files can be brought back; 30 for a new account.",
    ),
    policy: str = typer.Option(
        "", "--policy", metavar="setup|workspace|surface",
        help="Print the commands that assign the roles for setting up, serving or syncing, "
        "each after the name of its role, and end.",
    ),
) -> None:
    """Make or harden the storage account and the Cosmos DB account of a workspace.

    Says what it will do, asks, and does it; run again it changes nothing. What
    exists is hardened, never removed, and an account that serves a web site or
    is open to the public is refused. Names come from the flags, else from
    WM_AZURE_*, else from backend.toml, else from AZURE_LOCATION,
    AZURE_RESOURCE_GROUP, AZURE_SUBSCRIPTION_ID, AZURE_STORAGE_ACCOUNT,
    AZURE_STORAGE_CONTAINER, AZURE_COSMOS_ACCOUNT, AZURE_COSMOS_DATABASE and
    AZURE_COSMOS_CONTAINER.
    """
    from services.azure.setup import names

    flagged = names.Asked(
        prefix, environment, location, resource_group, subscription, tuple(tag),
        tuple(allow_origin), keep_versions, serverless, free_tier, max_throughput,
    )  # fmt: skip
    target = names.find_target(flagged, backend_file=backend)
    if policy:
        _print_policy(policy, target)
        return
    from services.azure.setup.job import AzureSetup

    asked = Asked(
        "azure", backend, "location and the names in [storage] and [database]", dry_run=dry_run,
        check=check, write=write, force=force, yes=yes, as_json=options_of(ctx).json,
    )  # fmt: skip
    run_setup(asked, lambda: AzureSetup(target), target.selection)


def _print_policy(which: str, target: Target) -> None:
    """Whose roles they become is PRINCIPAL, an object identifier of Entra; grants on what
    the runtime alone makes are those of deploy/azure/runtime.bicep."""
    from services.azure.permissions import SETUP, SURFACE, assignment_commands, grants_of

    tables = {"setup": SETUP, "surface": SURFACE, "workspace": grants_of("workspace")}
    if which not in tables:
        raise usage(f"there is no policy '{which}'", remedy="choose setup, workspace or surface")
    wanted = target.baseline
    names = {
        "cosmosAccountName": wanted.cosmos_account, "storageAccountName": wanted.storage_account,
        "storageContainerName": wanted.storage_container,
    }  # fmt: skip
    subscription = target.subscription or "SUBSCRIPTION"
    group = f"/subscriptions/{subscription}/resourceGroups/{wanted.resource_group}"
    for line in assignment_commands(
        tables[which], group=group, principal="PRINCIPAL", names=names
    ):
        print_line(line)
