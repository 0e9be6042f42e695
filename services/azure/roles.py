"""The built-in roles that this product uses, one table for refusals, setup and templates.

Identifiers: Microsoft Learn, "Azure built-in roles"; Cosmos DB, "Data plane security
reference" (its roles are the account's own and no roles of Azure).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final

__all__ = ["ROLES", "Role"]


@dataclass(frozen=True, slots=True)
class Role:
    """`identifier` is the GUID of the role definition, `why` what it is needed for. `data`:
    a role of Cosmos DB's own, assigned inside of the account."""

    label: str
    identifier: str
    why: str
    data: bool = False


ROLES: Final[Mapping[str, Role]] = MappingProxyType(
    {
        "cosmos": Role(
            "Cosmos DB Built-in Data Contributor", "00000000-0000-0000-0000-000000000002",
            "reading and writing records", data=True,
        ),
        "blob": Role(
            "Storage Blob Data Contributor", "ba92f5b4-2d11-453d-a403-e96b0029c9fe",
            "reading, writing and signing URLs of files",
        ),
        "blob_sign": Role(
            "Storage Blob Delegator", "db58b8e5-c6ad-4a2a-8342-4190687cbf4a",
            "keys for signed URLs, where files are the role of the container alone",
        ),
        "eventgrid": Role(
            "EventGrid Data Sender", "d5a91429-5739-47e2-a06b-3470a27159e7",
            "publishing activity events",
        ),
        "email": Role(
            "Communication and Email Service Owner", "09976791-48a7-449e-bb21-39d1a415f350",
            "sending mail",
        ),
        "vault": Role(
            "Key Vault Secrets User", "4633458b-17de-408a-b874-0445c86b69e6",
            "reading secrets",
        ),
        "vault_write": Role(
            "Key Vault Secrets Officer", "b86a8fe4-44ce-4948-aee5-eccb2c155cd7",
            "writing the key files that all replicas share, `wm keys push`",
        ),
        "configuration": Role(
            "App Configuration Data Reader", "516239f1-63e1-4d78-a4de-a74fb236a071",
            "reading settings that are `appconfig:` references",
        ),
        "registry": Role(
            "AcrPull", "7f951dda-4ed3-4680-a7ca-43fe172d538d", "pulling the image",
        ),
        "management": Role(
            "Contributor", "b24988ac-6180-42a0-ab88-20f7382dd24c",
            "making and hardening resources, `wm setup azure`",
        ),
        "assignments": Role(
            "Role Based Access Control Administrator", "f58310d9-a9f6-439a-9e8d-f62e7b41a168",
            "giving the roles above to people and identities",
        ),
    }
)  # fmt: skip
"""By service, as failures name it, and by what setup and templates need beside."""
