"""The stores that manifests name, one table of their kinds.

A store is called by what a manifest says of it, on servers that are not the provider's
(and in clouds that are not its usual one) with `@{host}:{port}` behind it.
WM_SYNC_PLACES lists stores by these names.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

from services.settings import Settings
from sync_svc.connections import stores_aws as aws
from sync_svc.connections import stores_azure as azure
from sync_svc.connections.servers import at

__all__ = ["STORES", "Store", "own_stores", "store_name", "stores_of"]


@dataclass(frozen=True, slots=True)
class Store:
    """`setting` names it in a manifest, `prefix` begins its name. `named` says the name that
    settings give it, `own` that of this workspace's own one ('': none); `is_usual` is whether
    a server is the provider's and needs no telling."""

    setting: str
    prefix: str
    named: Callable[[Mapping[str, str]], str]
    own: Callable[[Settings], str]
    is_usual: Callable[[str], bool]


STORES: Final = (
    Store("table", "dynamodb:", aws.table_name, aws.own_table, aws.is_aws),
    Store("bucket", "s3:", aws.bucket_name, aws.own_bucket, aws.is_aws),
    Store(
        "cosmos_container", "cosmos:", azure.cosmos_container_name, azure.own_cosmos_container,
        azure.is_azure,
    ),
    Store(
        "storage_container", "blob:", azure.blob_container_name, azure.own_blob_container,
        azure.is_azure,
    ),
)  # fmt: skip


def stores_of(settings: Mapping[str, str]) -> dict[str, str]:
    """The names of the stores that settings open, by the setting."""
    return {each.setting: each.named(settings) for each in STORES if settings.get(each.setting)}


def own_stores(settings: Settings) -> frozenset[str]:
    """Those of this workspace, which are no surfaces."""
    return frozenset(filter(None, (each.own(settings) for each in STORES)))


def store_name(text: str) -> str:
    """A name as somebody wrote it (`s3:Docs@HOST`, `s3:docs@https://host`), as
    `stores_of` says it. '' for what names no store."""
    name, sign, server = text.strip().partition("@")
    kind = next((each for each in STORES if name.startswith(each.prefix)), None)
    if kind is None:
        return ""
    if not sign:
        return name
    return at(name, server if "//" in server else f"https://{server}", kind.is_usual)
