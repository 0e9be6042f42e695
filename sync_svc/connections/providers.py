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

__all__ = ["PROVIDERS", "Provider", "folder_of", "is_loopback", "normalise", "places_of"]

_HOST = re.compile(r"[A-Za-z0-9]([A-Za-z0-9.-]{0,251}[A-Za-z0-9])?|[0-9A-Fa-f:]{2,45}", re.ASCII)
_IDENTIFIER = re.compile(r"[a-z_][a-z0-9_]{0,62}", re.ASCII)
_POSTGRES_ID = re.compile(r"[a-z0-9][a-z0-9-]{0,63}", re.ASCII)
_LOOPBACK: Final = frozenset({"localhost", "127.0.0.1", "::1"})
_SSL_MODES: Final = ("verify-full", "verify-ca", "require", "disable")


def _folder(value: str) -> str:
    if not os.path.isabs(value):  # noqa: PTH117 - a text, not a path of this machine
        return "must be an absolute path"
    return "" if value.isprintable() else "has characters that cannot be printed"


def _host(value: str) -> str:
    if value.startswith("/"):
        return _folder(value)
    return "" if _HOST.fullmatch(value) else "must be a host name, an address or a socket folder"


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
    """`needed` and `optional` settings, each with what says what is wrong ('': fine)."""

    label: str
    needed: Mapping[str, Callable[[str], str]]
    optional: Mapping[str, Callable[[str], str]]


PROVIDERS: Final[Mapping[str, Provider]] = MappingProxyType(
    {
        "local": Provider("Folder", {"folder": _folder}, {}),
        "postgres": Provider(
            "PostgreSQL",
            {"host": _host, "database": _name, "user": _name, "folder": _folder},
            {
                "port": _port, "schema": _schema, "sslmode": _ssl_mode,
                "sslrootcert": _certificate,
            },
        ),
    }
)
"""Those that this installation opens."""


def normalise(connection: Connection, *, base: Path, data_dir: Path) -> None:
    """Check the settings and make them whole, in place. Relative folders are taken
    from `base`. Raises INVALID_FIELD naming the setting and the remedy."""
    provider = PROVIDERS.get(connection.provider)
    if provider is None:
        known = " and ".join(PROVIDERS)
        raise invalid_field(
            "connection.provider",
            f"'{connection.provider}' surfaces cannot be opened by this installation; "
            f"it opens {known}",
        )
    _check_keys(connection, provider)
    if connection.settings["folder"].startswith("~"):
        raise _bad("folder", "must be a path; '~' is not expanded on the server")
    folder = base / connection.settings["folder"]
    connection.settings["folder"] = os.path.normpath(folder)
    known_settings = {**provider.needed, **provider.optional}
    for name, value in connection.settings.items():
        if problem := known_settings[name](value):
            raise _bad(name, problem)
    _check_folder(folder_of(connection), data_dir)
    _check_postgres(connection)


def folder_of(connection: Connection) -> Path:
    """The folder of a surface: everything of `local`, the objects of `postgres`."""
    return Path(connection.settings["folder"])


def places_of(connection: Connection) -> frozenset[str]:
    """Names of what a manifest opens; two that share one open the same surface."""
    settings = dict(connection.settings)
    places = {"folder:" + os.path.realpath(settings.get("folder", ""))}
    if connection.provider == "postgres":
        host = settings["host"].lower()
        host = "localhost" if is_loopback(host) else host
        where = [settings.get("port", "5432"), settings["database"], settings.get("schema", "")]
        places.add("/".join(["postgres:" + host, *where]))
    return frozenset(places)


def is_loopback(host: str) -> bool:
    """This very machine, by name, address or socket."""
    return host.lower() in _LOOPBACK or host.startswith("/")


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


def _check_folder(folder: Path, data_dir: Path) -> None:
    real, ours = Path(os.path.realpath(folder)), Path(os.path.realpath(data_dir))
    if real == ours or ours in real.parents:
        raise _bad("folder", "lies in this workspace's own data folder; name another place")


def _check_postgres(connection: Connection) -> None:
    if connection.provider != "postgres":
        return
    # The name of the variable with the password is made of the id: two ids must
    # never share it, or one's password could be sent to the other's host.
    if not _POSTGRES_ID.fullmatch(connection.connection_id):
        raise invalid_field(
            "connection.connection_id",
            "must be lower-case letters, digits and '-' for provider postgres",
        )
    settings = connection.settings
    if settings.get("sslmode") == "disable" and not is_loopback(settings["host"]):
        raise _bad("sslmode", "must not be disable for another machine; use verify-full")


def _bad(name: str, problem: str) -> Exception:
    return invalid_field(f"connection.settings.{name}", problem)
