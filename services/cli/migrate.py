"""`wm migrate`: bring the tables of the database to what this release needs."""

from __future__ import annotations

import asyncio
from dataclasses import asdict, dataclass

import typer

from services.backends import database_file, open_record_driver
from services.cli.exit_codes import ExitCode
from services.cli.options import options_of
from services.cli.output import counted, print_json, print_line
from services.config import load_settings
from services.model.errors import invalid_field
from services.records.instance import check_writable, read_instance
from services.records.mending import mend_connections
from services.records.sql.migrations import require_format
from services.records.sql.schema import FORMAT
from services.secrets.resolve import resolve_secrets
from services.settings import Settings

app = typer.Typer(add_completion=False)

_NAMES = {
    "sqlite": "SQLite", "postgresql": "PostgreSQL", "dynamodb": "DynamoDB", "cosmos": "Cosmos DB",
}  # fmt: skip
_SECONDS = 10


@dataclass(frozen=True, slots=True)
class Outcome:
    """Formats of the tables (0: none yet). `needed`: what this release needs; `now`:
    what the tables have after the command. None where a store has no tables of ours.
    `mended`: connections that an earlier release left in a way that looks like damage."""

    records: str
    found: int | None
    now: int | None
    needed: int | None
    mended: int = 0

    @property
    def behind(self) -> bool:
        """Whether something is left to be done."""
        return None not in (self.now, self.needed) and (self.now or 0) < (self.needed or 0)


@app.command()
def migrate(
    ctx: typer.Context,
    check: bool = typer.Option(
        False, "--check", help="Change nothing: exit code 7 when there is something to do."
    ),
) -> None:
    """Bring the tables of the database to what this release needs.

    May be repeated, and run by several at once. With WM_MIGRATE_AT_START=off nothing else
    changes tables: run it before the first process of a new release. Its database user
    owns the tables; processes need rights on rows only (docs/operations/upgrades.md).
    """
    options = options_of(ctx)
    settings = load_settings(data_dir=options.data_dir)
    outcome = asyncio.run(_run(settings, change=not check))
    if options.json:
        print_json(asdict(outcome) | {"behind": outcome.behind})
    else:
        print_line(_told(outcome))
        if outcome.mended:
            print_line(f"{counted(outcome.mended, 'connection')} of an earlier release mended.")
    if outcome.behind:
        raise typer.Exit(ExitCode.PRECONDITION)


async def _run(settings: Settings, *, change: bool) -> Outcome:
    settings = await resolve_secrets(settings)
    if settings.records == "sqlite":
        return await _sqlite(settings, change=change)
    if settings.records == "postgresql":
        return await _postgresql(settings, change=change)
    mended = await _look(settings, change=change)
    return Outcome(settings.records, None, None, None, mended)


async def _sqlite(settings: Settings, *, change: bool) -> Outcome:
    """The file is migrated whenever it is opened, by `wm serve` or here."""
    from services.records.sql.provision import sqlite_formats

    formats = await asyncio.to_thread(sqlite_formats, database_file(settings))
    if formats is None:
        return Outcome("sqlite", None, None, FORMAT)
    require_format(*formats)
    found, now = formats[0], formats[0]
    if found < FORMAT and change:
        await _look(settings, change=change)  # connections of such a workspace are in files
        now = FORMAT
    return Outcome("sqlite", found, now, FORMAT)


async def _postgresql(settings: Settings, *, change: bool) -> Outcome:
    from services.records.sql.postgres import migrate_postgres, read_formats

    if settings.records_dsn is None:
        raise invalid_field("WM_RECORDS_DSN", "is needed when WM_RECORDS is postgresql")
    dsn = settings.records_dsn.get_secret_value()
    if change:
        found = await migrate_postgres(dsn, connect_timeout=_SECONDS)
        mended = await _look(settings, change=change)
        return Outcome("postgresql", found, max(found, FORMAT), FORMAT, mended)
    found, oldest = await read_formats(dsn, connect_timeout=_SECONDS)
    require_format(found, oldest)
    return Outcome("postgresql", found, found, FORMAT)


async def _look(settings: Settings, *, change: bool) -> int:
    """Open the store as a process would, and hold its instance to what this release may
    write; how many connections were mended. Raises what opening raises."""
    driver = await open_record_driver(settings)
    try:
        instance = await read_instance(driver)
        if instance is None:
            return 0
        check_writable(instance)
        return await mend_connections(driver) if change else 0
    finally:
        await driver.close()


def _told(outcome: Outcome) -> str:
    name = _NAMES[outcome.records]
    if outcome.needed is None:
        return f"{name}: it can be opened, and has no tables of ours to migrate."
    if outcome.now is None:
        return f"{name}: there is no database yet; `wm serve` makes it, and migrates it later."
    if outcome.behind:
        how = "; `wm serve` brings them there, too" if outcome.records == "sqlite" else ""
        return (
            f"{name}: the tables are at {outcome.now}, this release needs {outcome.needed}: run "
            f"`wm migrate`{how}."
        )
    if outcome.found != outcome.now:
        return f"{name}: tables {outcome.found} -> {outcome.now}."
    return f"{name}: nothing to do, the tables are at {outcome.now}{_ahead(outcome)}."


def _ahead(outcome: Outcome) -> str:
    if (outcome.now or 0) <= (outcome.needed or 0):
        return ""
    return f", later than this release's {outcome.needed}, and admit it"
