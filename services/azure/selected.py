"""The part of the settings that chooses Azure: `backend.toml`, and the variables of the
seeds. No SDK is needed for it."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final, TypeVar
from urllib.parse import urlsplit

from services.azure.place import AzurePlace
from services.model.errors import invalid_field
from services.selected import check_name, fields_of_environment, fields_of_selection

if TYPE_CHECKING:
    from services.settings import Settings

__all__ = ["azure_place", "azure_selection", "check_azure", "from_environment", "uses_azure"]

S = TypeVar("S", bound="Settings")

_COSMOS_ACCOUNT: Final = re.compile(r"[a-z0-9](?:[a-z0-9-]{1,42}[a-z0-9])")
_STORAGE_ACCOUNT: Final = re.compile(r"[a-z0-9]{3,24}")
_BLOB_CONTAINER: Final = re.compile(r"[a-z0-9](?!.*--)[a-z0-9-]{1,61}[a-z0-9]")
_COSMOS_NAME: Final = re.compile(r"[^/\\#?%\s]{1,255}")
_PATHS: Final = {
    "azure_location": ("location",),
    "azure_storage_account": ("storage", "account"),
    "azure_storage_container": ("storage", "container"),
    "azure_cosmos_account": ("database", "account"),
    "azure_cosmos_database": ("database", "database"),
    "azure_cosmos_container": ("database", "container"),
}
_VARIABLES: Final = {field: (field.upper(),) for field in _PATHS}
_ENDPOINTS: Final = {
    "cosmos": "azure_cosmos_endpoint",
    "blob": "azure_blob_endpoint",
    "vault": "azure_vault_endpoint",
    "configuration": "azure_configuration_endpoint",
    "management": "azure_management_endpoint",
}


def azure_selection(settings: Settings, selection: Mapping[str, Any]) -> dict[str, Any]:
    """What a `backend.toml` with provider azure says, without what was set otherwise."""
    return fields_of_selection(
        settings, selection, _PATHS, records="cosmos", objects="azure_blob"
    )


def from_environment(settings: S, environment: Mapping[str, str] = os.environ) -> S:
    """Fill what is not set from the variables of the seeds."""
    if not uses_azure(settings):
        return settings
    return fields_of_environment(settings, _VARIABLES, environment)


def check_azure(settings: Settings) -> None:
    """Raises INVALID_FIELD naming the variable."""
    for field in (*_ENDPOINTS.values(), "azure_event_topic", "azure_communication_endpoint"):
        _check_url(field, getattr(settings, field))
    _check_ca_file(settings)
    if settings.records == "cosmos":
        _check(settings, "azure_cosmos_account", _COSMOS_ACCOUNT, "3 to 44 of a-z, 0-9, `-`")
        _check(settings, "azure_cosmos_database", _COSMOS_NAME, "1 to 255, none of /, \\, #, ?, %")
        _check(settings, "azure_cosmos_container", _COSMOS_NAME, "1 to 255, none of /, \\, #, ?, %")
    if settings.objects == "azure_blob":
        _check(settings, "azure_storage_account", _STORAGE_ACCOUNT, "3 to 24 of a-z, 0-9")
        _check(settings, "azure_storage_container", _BLOB_CONTAINER, "3 to 63 of a-z, 0-9, `-`")
    if settings.events == "eventgrid":
        _check_needed(settings, "azure_event_topic", "the endpoint of a topic")
    if settings.mail == "communication":
        _check_needed(settings, "azure_communication_endpoint", "that of the resource")
        if settings.mail_from.endswith("@localhost"):
            raise invalid_field(
                "WM_MAIL_FROM",
                "must be an address of a verified domain, with WM_MAIL=communication",
            )


def uses_azure(settings: Settings) -> bool:
    """Whether anything of Azure is selected, but for secrets, which name their place."""
    return (
        settings.records == "cosmos"
        or settings.objects == "azure_blob"
        or settings.events == "eventgrid"
        or settings.mail == "communication"
    )


def azure_place(settings: Settings) -> AzurePlace:
    """Where the settings put Azure."""
    endpoints = {
        service: url for service, field in _ENDPOINTS.items() if (url := getattr(settings, field))
    }
    ca_file = str(settings.azure_ca_file) if settings.azure_ca_file else ""
    return AzurePlace(settings.azure_cloud, endpoints, ca_file)


def _check(settings: Settings, field: str, pattern: re.Pattern[str], form: str) -> None:
    check_name(settings, field, pattern, form, cloud="Azure", variable=_VARIABLES[field][0])


def _check_needed(settings: Settings, field: str, what: str) -> None:
    if not getattr(settings, field):
        raise invalid_field(f"WM_{field.upper()}", f"is needed: {what}, as https://host")


def _check_url(field: str, url: str) -> None:
    if not url:
        return
    try:
        parts = urlsplit(url)
        good = parts.scheme == "https" and parts.hostname and "@" not in parts.netloc
        good = good and parts.port != 0  # raises ValueError for what is no port
    except ValueError:
        good = False
    if not good:
        raise invalid_field(f"WM_{field.upper()}", "must be like https://host")
    if parts.query or parts.fragment:
        raise invalid_field(
            f"WM_{field.upper()}",
            "must be a URL without a query (keys and SAS "
            "are not taken: credentials are those of the environment)",
        )


def _check_ca_file(settings: Settings) -> None:
    if settings.azure_ca_file and not settings.azure_ca_file.is_file():
        raise invalid_field(
            "WM_AZURE_CA_FILE",
            f"{settings.azure_ca_file} is not there; leave it out for Azure itself",
        )
