"""The settings of a database: what is wrong with one, and what the database is called."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final

from sync_svc.connections.hosts import is_host, is_loopback
from sync_svc.connections.settings_local import folder

__all__ = [
    "certificate", "database_name", "host", "name", "objects_problem", "port", "schema",
    "ssl_mode", "ssl_problem",
]  # fmt: skip

_IDENTIFIER: Final = re.compile(r"[a-z_][a-z0-9_]{0,62}", re.ASCII)
_SSL_MODES: Final = ("verify-full", "verify-ca", "require", "disable")
_OF_A_BUCKET: Final = ("region", "s3_endpoint", "path_style", "profile")


def host(value: str) -> str:
    """What is wrong with a host or a folder of sockets; '': nothing."""
    if value.startswith("/"):
        return folder(value)
    return "" if is_host(value) else "must be a host name, an address or a socket folder"


def port(value: str) -> str:
    """What is wrong with a port; '': nothing."""
    good = value.isascii() and value.isdecimal() and 0 < int(value) < 65536
    return "" if good else "must be a number from 1 to 65535"


def name(value: str) -> str:
    """What is wrong with the name of a database or a user; '': nothing."""
    return "" if 0 < len(value.encode()) <= 63 and value.isprintable() else "has 1 to 63 bytes"


def schema(value: str) -> str:
    """What is wrong with the name of a schema; '': nothing."""
    good = _IDENTIFIER.fullmatch(value)
    return "" if good else "must be lower-case letters, digits and '_', letter first"


def ssl_mode(value: str) -> str:
    """What is wrong with a mode of TLS; '': nothing."""
    return "" if value in _SSL_MODES else f"must be one of {', '.join(_SSL_MODES)}"


def certificate(value: str) -> str:
    """What is wrong with the authorities; '': nothing."""
    return "" if value == "system" or not folder(value) else "must be `system` or a PEM file"


def objects_problem(settings: Mapping[str, str]) -> tuple[str, str] | None:
    """The objects of a database are in a folder, or in a bucket somewhere."""
    if ("folder" in settings) == ("bucket" in settings):
        return "folder", "or `bucket`: one of them has the objects of a database"
    if "bucket" in settings:
        return None if "region" in settings else ("region", "is needed with a bucket")
    lost = next((name for name in _OF_A_BUCKET if name in settings), "")
    return (lost, "goes with a bucket, and the objects are in a folder") if lost else None


def ssl_problem(settings: Mapping[str, str]) -> tuple[str, str] | None:
    """Another machine is spoken to over TLS."""
    if settings.get("sslmode") != "disable" or is_loopback(settings["host"]):
        return None
    return "sslmode", "must not be disable for another machine; use verify-full"


def database_name(settings: Mapping[str, str]) -> str:
    """What the database of settings is called."""
    host = settings.get("host", "").lower()
    host = "localhost" if is_loopback(host) else host
    database = settings.get("database", "")
    where = [settings.get("port", "5432"), database, settings.get("schema", "")]
    return "/".join(["postgres:" + host, *where])
