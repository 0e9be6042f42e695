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
from sync_svc.connections import stores
from sync_svc.connections.hosts import is_host, is_loopback

__all__ = [
    "PROVIDERS", "Provider", "folder_of", "is_loopback", "normalise", "place_of", "places_of",
]  # fmt: skip

_IDENTIFIER = re.compile(r"[a-z_][a-z0-9_]{0,62}", re.ASCII)
_VARIABLE_ID = re.compile(r"[a-z0-9][a-z0-9-]{0,63}", re.ASCII)
_SSL_MODES: Final = ("verify-full", "verify-ca", "require", "disable")


def _folder(value: str) -> str:
    if not os.path.isabs(value):  # noqa: PTH117 - a text, not a path of this machine
        return "must be an absolute path"
    return "" if value.isprintable() else "has characters that cannot be printed"


def _host(value: str) -> str:
    if value.startswith("/"):
        return _folder(value)
    return "" if is_host(value) else "must be a host name, an address or a socket folder"


def _port(value: str) -> str:
    good = value.isascii() and value.isdecimal() and 0 < int(value) < 65536
    return "" if good else "must be a number from 1 to 65535"


def _name(value: str) -> str:
    return "" if 0 < len(value.encode()) <= 63 and value.isprintable() else "has 1 to 63 bytes"


def _schema(value: str) -> str:
    good = _IDENTIFIER.fullmatch(value)
    return "" if good else "must be lower-case letters, digits and '_', letter first"


def _ssl_mode(value: str) -> str:
    return "" if value in _SSL_MODES else f"must be one of {', '.join(_SSL_MODES)}"


def _certificate(value: str) -> str:
    return "" if value == "system" or not _folder(value) else "must be `system` or a PEM file"


@dataclass(frozen=True, slots=True)
class Provider:
    """`needed` and `optional` settings, each with what says what is wrong ('': fine).
    `variables`: credentials come from variables that are named by the id."""

    label: str
    needed: Mapping[str, Callable[[str], str]]
    optional: Mapping[str, Callable[[str], str]]
    variables: bool = True


_S3: Final[Mapping[str, Callable[[str], str]]] = {
    "s3_endpoint": stores.endpoint, "path_style": stores.flag, "profile": stores.profile,
}  # fmt: skip
"""Settings that go with a bucket."""

PROVIDERS: Final[Mapping[str, Provider]] = MappingProxyType(
    {
        "local": Provider("Folder", {"folder": _folder}, {}, variables=False),
        "postgres": Provider(
            "PostgreSQL",
            {"host": _host, "database": _name, "user": _name},
            {
                "folder": _folder, "bucket": stores.bucket, "region": stores.region, **_S3,
                "port": _port, "schema": _schema, "sslmode": _ssl_mode,
                "sslrootcert": _certificate,
            },
        ),
        "aws": Provider(
            "AWS",
            {"region": stores.region, "table": stores.table, "bucket": stores.bucket},
            {**_S3, "dynamodb_endpoint": stores.endpoint},
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
    _check_objects(connection)
    _make_whole(connection, base)
    known_settings = {**provider.needed, **provider.optional}
    for name, value in connection.settings.items():
        if problem := known_settings[name](value):
            raise _bad(name, problem)
    _check_id(connection, provider)
    _check_not_ours(connection, data_dir, own)
    _check_ssl(connection)
    _check_bucket(connection)


def folder_of(connection: Connection) -> Path | None:
    """The folder of a surface: everything of `local`, objects of `postgres`; None where
    the objects are in a bucket."""
    folder = connection.settings.get("folder", "")
    return Path(folder) if folder else None


def place_of(connection: Connection) -> str:
    """The name of what has the records of a manifest."""
    settings = dict(connection.settings)
    if connection.provider == "postgres":
        host = settings.get("host", "").lower()
        host = "localhost" if is_loopback(host) else host
        database = settings.get("database", "")
        where = [settings.get("port", "5432"), database, settings.get("schema", "")]
        return "/".join(["postgres:" + host, *where])
    if connection.provider == "aws":
        return stores.stores_of(settings).get("table", "")
    return "folder:" + os.path.realpath(settings.get("folder", ""))


def places_of(connection: Connection) -> frozenset[str]:
    """Names of all that a manifest opens; two that share one open the same surface."""
    places = {place_of(connection), *stores.stores_of(connection.settings).values()}
    if folder := folder_of(connection):
        places.add("folder:" + os.path.realpath(folder))
    return frozenset(places)


def _check_keys(connection: Connection, provider: Provider) -> None:
    known = {**provider.needed, **provider.optional}
    for name in sorted(connection.settings):
        if name not in known:
            raise _bad(
                name, f"is unknown to provider {connection.provider}; it has {', '.join(known)}"
            )
    for name in provider.needed:
        if not connection.settings.get(name):
            raise _bad(name, f"is needed by provider {connection.provider}")
    for name in provider.optional:
        if connection.settings.get(name) == "":
            del connection.settings[name]


def _check_objects(connection: Connection) -> None:
    """The objects of a database are in a folder, or in a bucket somewhere."""
    if connection.provider != "postgres":
        return
    settings = connection.settings
    if ("folder" in settings) == ("bucket" in settings):
        raise _bad("folder", "or `bucket`: one of them has the objects of a database")
    if "bucket" in settings and "region" not in settings:
        raise _bad("region", "is needed with a bucket")
    for name in ("region", *_S3):
        if name in settings and "bucket" not in settings:
            raise _bad(name, "goes with a bucket, and the objects are in a folder")


def _make_whole(connection: Connection, base: Path) -> None:
    if "folder" not in connection.settings:
        return
    if connection.settings["folder"].startswith("~"):
        raise _bad("folder", "must be a path; '~' is not expanded on the server")
    connection.settings["folder"] = os.path.normpath(base / connection.settings["folder"])


def _check_not_ours(connection: Connection, data_dir: Path, own: frozenset[str]) -> None:
    for name, store in stores.stores_of(connection.settings).items():
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


def _check_ssl(connection: Connection) -> None:
    settings = connection.settings
    if settings.get("sslmode") == "disable" and not is_loopback(settings["host"]):
        raise _bad("sslmode", "must not be disable for another machine; use verify-full")


def _check_bucket(connection: Connection) -> None:
    settings = connection.settings
    if "." in settings.get("bucket", "") and settings.get("path_style") != "true":
        raise _bad(
            "path_style", "must be true for a bucket with '.' in its name: the certificate of "
            "AWS does not cover it as a host"
        )


def _bad(name: str, problem: str) -> Exception:
    return invalid_field(f"connection.settings.{name}", problem)
