"""Which checks are made: all with the store to ourselves, fewer beside a process."""

from __future__ import annotations

from pathlib import Path

from services.backends import database_file, open_record_driver
from services.cli.doctor.finding import Finding, Verdict
from services.cli.doctor.machine import check_clock, check_disk, check_keys, check_ports
from services.cli.doctor.objects import check_awaited, check_objects, check_orphans
from services.cli.doctor.online import check_http, check_rpc
from services.cli.doctor.records import (
    Survey,
    check_database,
    no_database,
    survey_records,
)
from services.cli.doctor.stored import open_stored
from services.cli.doctor.usage import recount
from services.cli.endpoint import read_endpoint
from services.config import load_settings
from services.model.errors import WorkspaceError
from services.objects.port import StoreUnavailable
from services.records.port import DriverUnavailable
from services.records.sql.files import FileLock
from services.secrets.resolve import resolve_secrets
from services.settings import Settings

__all__ = ["examine"]

_DEEP = ("database", "records", "usage", "objects", "orphans")


async def examine(data_dir: Path) -> list[Finding]:
    """All checks that can be made now, in order."""
    try:
        settings = await resolve_secrets(load_settings(data_dir=data_dir))
    except WorkspaceError as error:
        return [Finding("configuration", Verdict.FAILED, error.message, "mend it and repeat")]
    found = [Finding("configuration", Verdict.OK, f"data in {data_dir.absolute()}")]  # noqa: ASYNC240
    on_disk = settings.records == "sqlite" or settings.objects == "filesystem"
    if on_disk and not data_dir.is_dir():  # noqa: ASYNC240
        return [*found, no_database(data_dir / "workspace.sqlite")]
    found += [check_disk(data_dir)] if on_disk else []
    found.append(_keys(settings))
    if settings.records == "sqlite" and not database_file(settings).exists():
        return [*found, no_database(database_file(settings))]
    if settings.records == "sqlite" and _is_held(database_file(settings)):
        return [*found, *await _beside_process(data_dir)]
    return [*found, *await _alone(settings)]


async def _alone(settings: Settings) -> list[Finding]:
    found = await _of_process(settings)
    if settings.records == "sqlite":
        path = database_file(settings)
        found.append(await check_database(path))
        if found[-1].verdict is Verdict.FAILED:
            return [*found, *_skipped("the database is damaged", _DEEP[1:])]
    try:
        driver = await open_record_driver(settings)
    except (WorkspaceError, DriverUnavailable) as error:
        return [*found, Finding("records", Verdict.FAILED, str(error), "see the message")]
    try:
        survey = await survey_records(driver)
        usage = await recount(driver)
    except DriverUnavailable as error:
        return [*found, Finding("records", Verdict.FAILED, str(error), "see the message")]
    finally:
        await driver.close()
    found += [check_clock(survey.newest_ms), survey.finding(), usage.finding()]
    return [*found, *await _of_objects(settings, survey)]


async def _of_process(settings: Settings) -> list[Finding]:
    """The ports are free for a process, or have ours (stores of a cloud have several)."""
    endpoint = read_endpoint(settings.data_dir)
    if endpoint is None or (found := await check_rpc(endpoint)).verdict is not Verdict.OK:
        return [check_ports(settings)]
    return [found, (await check_http(endpoint))[0]]


async def _of_objects(settings: Settings, survey: Survey) -> list[Finding]:
    try:
        stored = await open_stored(settings)
    except (WorkspaceError, StoreUnavailable) as error:
        return [Finding("objects", Verdict.FAILED, str(error), "see the message")]
    try:
        return [
            await check_objects(stored, survey),
            *await check_awaited(stored, survey),
            await check_orphans(stored, survey),
        ]
    except StoreUnavailable as error:
        return [Finding("objects", Verdict.FAILED, str(error), "see the message")]
    finally:
        await stored.close()


def _keys(settings: Settings) -> Finding:
    """Keys that are kept in a secret come with the next start."""
    if settings.keys_secret and not (settings.data_dir / "keys").is_dir():
        return Finding("keys", Verdict.INFO, "kept in the secret of WM_KEYS_SECRET")
    return check_keys(settings.data_dir)


async def _beside_process(data_dir: Path) -> list[Finding]:
    found: list[Finding] = []
    endpoint = read_endpoint(data_dir)
    if endpoint is None:
        found.append(
            Finding("http", Verdict.SKIPPED, "a process holds the data but does not say where")
        )
    else:
        found += [await check_rpc(endpoint), *await check_http(endpoint)]
    return found + _skipped("needs the server stopped: stop `wm serve`, then repeat", _DEEP)


def _skipped(why: str, checks: tuple[str, ...]) -> list[Finding]:
    return [Finding(check, Verdict.SKIPPED, why) for check in checks]


def _is_held(path: Path) -> bool:
    try:
        FileLock(path).release()
    except WorkspaceError:
        return True
    return False
