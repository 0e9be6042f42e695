"""Containers of Cosmos DB and Blob Storage: what is wrong with a setting, and what the
store is called.

A bearer token is good for whoever holds it, wherever it was meant for: so a manifest names
accounts, never hosts. The one exception is an emulator on this very machine, over TLS,
with an authority of its own. Sources: Microsoft Learn, "Naming rules and restrictions for
Azure resources"; "Naming and referencing containers, blobs, and metadata".
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from typing import Final
from urllib.parse import urlsplit

from services.azure.place import CLOUDS
from services.settings import Settings
from sync_svc.connections.servers import at, host_of, parts_of

__all__ = [
    "blob_container_name", "ca_file", "cloud", "cosmos_account", "cosmos_container_name",
    "cosmos_name", "emulator", "emulator_problem", "is_azure", "own_blob_container",
    "own_cosmos_container", "storage_account", "storage_container",
]  # fmt: skip

_COSMOS_ACCOUNT: Final = re.compile(r"[a-z0-9][a-z0-9-]{1,42}[a-z0-9]", re.ASCII)
# Cosmos takes more; these can be told in WM_SYNC_PLACES.
_COSMOS_NAME: Final = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,254}", re.ASCII)
_STORAGE_ACCOUNT: Final = re.compile(r"[a-z0-9]{3,24}", re.ASCII)
_STORAGE_CONTAINER: Final = re.compile(r"[a-z0-9](?!.*--)[a-z0-9-]{1,61}[a-z0-9]", re.ASCII)
# As a whole, so that no two readers of URLs see two hosts in it. (An emulator of several
# accounts of Cosmos DB has them in the path; one of Blob Storage adds them itself.)
_EMULATOR: Final = re.compile(
    r"https://(localhost|127\.0\.0\.1|\[::1\])(:[1-9][0-9]{0,4})?(/[A-Za-z0-9_-]{1,64})?/?",
    re.ASCII,
)
_ENDPOINTS: Final = ("cosmos_endpoint", "blob_endpoint")
_NO_ACCOUNT: Final = "emulator"
_PUBLIC: Final = frozenset({CLOUDS["public"].cosmos, CLOUDS["public"].blob})


def cosmos_account(value: str) -> str:
    """What is wrong with the name of a Cosmos DB account; '': nothing."""
    good = _COSMOS_ACCOUNT.fullmatch(value)
    return "" if good else "must be the name of a Cosmos DB account: 3 to 44 of a-z, 0-9, '-'"


def cosmos_name(value: str) -> str:
    """What is wrong with the name of a database or a container in it; '': nothing."""
    return "" if _COSMOS_NAME.fullmatch(value) else "must be of letters, digits, '_', '-', '.'"


def storage_account(value: str) -> str:
    """What is wrong with the name of a storage account; '': nothing."""
    good = _STORAGE_ACCOUNT.fullmatch(value)
    return "" if good else "must be the name of a storage account: 3 to 24 of a-z, 0-9"


def storage_container(value: str) -> str:
    """What is wrong with the name of a container of blobs; '': nothing."""
    good = _STORAGE_CONTAINER.fullmatch(value)
    return "" if good else "must be the name of a container: 3 to 63 of a-z, 0-9, '-'"


def cloud(value: str) -> str:
    """What is wrong with the name of a cloud; '': nothing."""
    return "" if value in CLOUDS else f"must be one of {', '.join(CLOUDS)}"


def emulator(value: str) -> str:
    """What is wrong with the URL of an emulator; '': nothing."""
    if _EMULATOR.fullmatch(value) and _has_port(value):
        return ""
    return (
        "must be an emulator on this machine, like https://127.0.0.1:8081; tokens of Azure go to "
        "no other host (another cloud is named by `cloud`)"
    )


def ca_file(value: str) -> str:
    """What is wrong with a file of authorities; '': nothing."""
    good = os.path.isabs(value) and value.isprintable()  # noqa: PTH117 - a text
    return "" if good else "must be the absolute path of a PEM file"


def emulator_problem(settings: Mapping[str, str]) -> tuple[str, str] | None:
    """The setting that does not fit the others, and why. An authority that somebody names
    vouches for emulators only, never for a host of Azure."""
    given = [name for name in (*_ENDPOINTS, "ca_file") if settings.get(name)]
    for name in given:
        if name in _ENDPOINTS and (problem := emulator(settings[name])):
            return name, problem
    if not given or len(given) == len(_ENDPOINTS) + 1:
        return None
    missing = next(name for name in (*_ENDPOINTS, "ca_file") if name not in given)
    return missing, (
        f"goes with {' and '.join(given)}: an emulator needs `cosmos_endpoint`, `blob_endpoint` "
        "and `ca_file`, the PEM file of its authority; Azure itself needs none of them"
    )


def is_azure(url: str) -> bool:
    """Whether a server is the public cloud of Azure itself; '' is."""
    return not url or host_of(urlsplit(url)) in _PUBLIC


def cosmos_container_name(settings: Mapping[str, str]) -> str:
    """`cosmos:{account}/{database}/{container}`."""
    account, database = settings.get("cosmos_account", ""), settings.get("cosmos_database", "")
    url, cloud = settings.get("cosmos_endpoint", ""), settings.get("cloud", "")
    return _cosmos(account, database, settings["cosmos_container"], url, cloud)


def blob_container_name(settings: Mapping[str, str]) -> str:
    """`blob:{account}/{container}`."""
    account, container = settings.get("storage_account", ""), settings["storage_container"]
    return _blob(
        account, container, settings.get("blob_endpoint", ""), settings.get("cloud", "")
    )


def own_cosmos_container(settings: Settings) -> str:
    """The name of this workspace's container of records; '' for none."""
    if settings.records != "cosmos":
        return ""
    return _cosmos(
        settings.azure_cosmos_account, settings.azure_cosmos_database,
        settings.azure_cosmos_container, settings.azure_cosmos_endpoint, settings.azure_cloud,
    )  # fmt: skip


def own_blob_container(settings: Settings) -> str:
    """The name of this workspace's container of objects; '' for none."""
    if settings.objects != "azure_blob":
        return ""
    account, container = settings.azure_storage_account, settings.azure_storage_container
    return _blob(account, container, settings.azure_blob_endpoint, settings.azure_cloud)


def _cosmos(account: str, database: str, container: str, url: str, cloud: str) -> str:
    if url:  # then the account is what the URL says, whatever a manifest calls it
        account, url = _hosted(url, "cosmos") or (_path_of(url), url)
    name = f"cosmos:{account}/{database}/{container}"
    return at(name, url or _of_cloud(cloud, "cosmos"), is_azure)


def _blob(account: str, container: str, url: str, cloud: str) -> str:
    if url:
        account, url = _hosted(url, "blob") or (account, url)
    return at(f"blob:{account}/{container}", url or _of_cloud(cloud, "blob"), is_azure)


def _hosted(url: str, service: str) -> tuple[str, str] | None:
    """The account whose host of Azure a URL names, and its cloud; None for another host."""
    parts = parts_of(url)
    host = host_of(parts) if parts else ""
    for found in CLOUDS.values():
        suffix = getattr(found, service)
        if host.endswith(f".{suffix}"):
            return host.removesuffix(f".{suffix}"), f"https://{suffix}"
    return None


def _path_of(url: str) -> str:
    parts = parts_of(url)
    return (parts.path.strip("/") if parts else "") or _NO_ACCOUNT


def _of_cloud(cloud: str, service: str) -> str:
    """Where the accounts of a cloud are. (One that is not known is refused elsewhere.)"""
    found = CLOUDS.get(cloud or "public")
    return f"https://{getattr(found, service)}" if found else f"https://{cloud}"


def _has_port(url: str) -> bool:
    try:
        return urlsplit(url).port != 0
    except ValueError:  # above 65535
        return False
