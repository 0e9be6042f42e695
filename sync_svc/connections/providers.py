"""What a manifest may say, by provider, and which surface it opens.

Each provider has the settings of a table; anything else is refused, so that a
misspelt one is not silently without effect.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Final

from workspace.sync.v1.connection_pb2 import Connection

from services.model.errors import invalid_field
from sync_svc.connections import settings_postgres as postgres
from sync_svc.connections import stores_aws as aws
from sync_svc.connections import stores_azure as azure
from sync_svc.connections.hosts import is_loopback
from sync_svc.connections.settings_local import folder, folder_name
from sync_svc.connections.stores import stores_of

__all__ = [
    "PROVIDERS", "Provider", "folder_of", "is_loopback", "normalise", "place_of", "places_of",
]  # fmt: skip

_VARIABLE_ID = re.compile(r"[a-z0-9][a-z0-9-]{0,63}", re.ASCII)
Judge = Callable[[str], str]
"""Of a value: what is wrong with it ('': fine)."""
Fitting = Callable[[Mapping[str, str]], tuple[str, str] | None]
"""Of all settings: the one that does not fit the others, and why."""


@dataclass(frozen=True, slots=True)
class Provider:
    """`needed` and `optional` settings; `fitting` judges them together. `records` names what
    has the records. `variables`: credentials come from variables that are named by the id."""

    label: str
    needed: Mapping[str, Judge]
    optional: Mapping[str, Judge]
    records: Callable[[Mapping[str, str]], str]
    fitting: tuple[Fitting, ...] = ()
    variables: bool = True


_S3: Final[Mapping[str, Judge]] = {
    "s3_endpoint": aws.endpoint, "path_style": aws.flag, "profile": aws.profile,
}  # fmt: skip
"""Settings that go with a bucket."""


def _store(setting: str) -> Callable[[Mapping[str, str]], str]:
    return lambda settings: stores_of(settings).get(setting, "")


PROVIDERS: Final[Mapping[str, Provider]] = MappingProxyType(
    {
        "local": Provider("Folder", {"folder": folder}, {}, folder_name, variables=False),
        "postgres": Provider(
            "PostgreSQL",
            {"host": postgres.host, "database": postgres.name, "user": postgres.name},
            {
                "folder": folder, "bucket": aws.bucket, "region": aws.region, **_S3,
                "port": postgres.port, "schema": postgres.schema, "sslmode": postgres.ssl_mode,
                "sslrootcert": postgres.certificate,
            },
            postgres.database_name,
            (postgres.objects_problem, postgres.ssl_problem, aws.path_style_problem),
        ),
        "aws": Provider(
            "AWS",
            {"region": aws.region, "table": aws.table, "bucket": aws.bucket},
            {**_S3, "dynamodb_endpoint": aws.endpoint},
            _store("table"),
            (aws.path_style_problem,),
        ),
        "azure": Provider(
            "Azure",
            {
                "cosmos_account": azure.cosmos_account, "cosmos_database": azure.cosmos_name,
                "cosmos_container": azure.cosmos_name, "storage_account": azure.storage_account,
                "storage_container": azure.storage_container,
            },
            {
                "cloud": azure.cloud, "cosmos_endpoint": azure.emulator,
                "blob_endpoint": azure.emulator, "ca_file": azure.ca_file,
            },
            _store("cosmos_container"),
            (azure.emulator_problem,),
        ),
    }
)  # fmt: skip
"""Those that this installation opens."""


def normalise(
    connection: Connection, *, base: Path, data_dir: Path, own: frozenset[str] = frozenset()
) -> None:
    """Check the settings and make them whole, in place. Relative folders are taken
    from `base`. `own`: the stores of this workspace (`stores.own_stores`). Raises
    INVALID_FIELD naming the setting and the remedy."""
    provider = PROVIDERS.get(connection.provider)
    if provider is None:
        *known, last = PROVIDERS
        raise invalid_field(
            "connection.provider",
            f"'{connection.provider}' surfaces cannot be opened by this installation; "
            f"it opens {', '.join(known)} and {last}",
        )
    _check_keys(connection, provider)
    _make_whole(connection, base)
    known_settings = {**provider.needed, **provider.optional}
    for name, value in connection.settings.items():
        if problem := known_settings[name](value):
            raise _bad(name, problem)
    for fitting in provider.fitting:
        if found := fitting(connection.settings):
            raise _bad(*found)
    _check_id(connection, provider)
    _check_not_ours(connection, data_dir, own)


def folder_of(connection: Connection) -> Path | None:
    """The folder of a surface: everything of `local`, objects of `postgres`; None where
    the objects are in a bucket."""
    folder = connection.settings.get("folder", "")
    return Path(folder) if folder else None


def place_of(connection: Connection) -> str:
    """The name of what has the records of a manifest. (A file that was edited by hand may
    name a provider that is none.)"""
    provider = PROVIDERS.get(connection.provider)
    return (provider.records if provider else folder_name)(connection.settings)


def places_of(connection: Connection) -> frozenset[str]:
    """Names of all that a manifest opens; two that share one open the same surface."""
    places = {place_of(connection), *stores_of(connection.settings).values()}
    if folder_of(connection):
        places.add(folder_name(connection.settings))
    return frozenset(places)


def _check_keys(connection: Connection, provider: Provider) -> None:
    known = {**provider.needed, **provider.optional}
    for name in sorted(connection.settings):
        if name not in known:
            raise _bad(
                name, f"is unknown to provider {connection.provider}; it has {', '.join(known)}"
            )
    missing = [name for name in provider.needed if not connection.settings.get(name)]
    if missing:
        others = f", and so is {', '.join(missing[1:])}" if missing[1:] else ""
        raise _bad(missing[0], f"is needed by provider {connection.provider}{others}")
    for name in provider.optional:
        if connection.settings.get(name) == "":
            del connection.settings[name]


def _make_whole(connection: Connection, base: Path) -> None:
    if "folder" not in connection.settings:
        return
    if connection.settings["folder"].startswith("~"):
        raise _bad("folder", "must be a path; '~' is not expanded on the server")
    connection.settings["folder"] = os.path.normpath(base / connection.settings["folder"])


def _check_not_ours(connection: Connection, data_dir: Path, own: frozenset[str]) -> None:
    for name, store in stores_of(connection.settings).items():
        if store in own:  # collection would take our objects for those of nobody
            raise _bad(name, f"is this workspace's own {name}; name another")
    folder = folder_of(connection)
    if folder is None:
        return
    real, ours = Path(os.path.realpath(folder)), Path(os.path.realpath(data_dir))
    if real == ours or ours in real.parents:
        raise _bad("folder", "lies in this workspace's own data folder; name another place")


def _check_id(connection: Connection, provider: Provider) -> None:
    # The names of the variables with credentials are made of the id: two ids must
    # never share one, or one's password could be sent to the other's host.
    if provider.variables and not _VARIABLE_ID.fullmatch(connection.connection_id):
        raise invalid_field(
            "connection.connection_id",
            "must be lower-case letters, digits and '-' for provider "
            f"{connection.provider}",
        )


def _bad(name: str, problem: str) -> Exception:
    return invalid_field(f"connection.settings.{name}", problem)
