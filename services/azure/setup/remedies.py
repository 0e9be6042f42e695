"""What helps against refusals that only making things meets."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from services.model.errors import Reason, WorkspaceError

__all__ = ["explained"]

_NAME: Final = "choose another with --prefix, AZURE_STORAGE_ACCOUNT or AZURE_COSMOS_ACCOUNT"
_REMEDIES: Final[Mapping[str, str]] = MappingProxyType(
    {
        "StorageAccountAlreadyTaken": f"the name belongs to another subscription: {_NAME}",
        "AccountNameInvalid": f"Azure does not take the name: {_NAME}",
        "LocationNotAvailableForResourceType": "it cannot be made in this location: choose "
        "another with --location",
        "LocationNotAvailableForResourceGroup": "there is no such location: look at `az account "
        "list-locations`, and choose with --location",
        "InvalidResourceGroupLocation": "the resource group is in another location already: run "
        "`wm setup azure` again",
        "InvalidResourceLocation": "the name is in use in another location: choose that with "
        "--location",
        "MissingSubscriptionRegistration": "the subscription does not know this kind: somebody "
        "with the role 'Contributor' on it has to run `az provider register`",
        "RequestDisallowedByPolicy": "a policy of the organisation refuses it: its message is in "
        "the activity log of the resource group",
        "ScopeLocked": "a lock on the resource refuses changes: remove it, and run again",
        "SkuNotAvailable": "it cannot be made in this location: choose another with --location",
        "MaxStorageAccountsCountPerSubscriptionExceeded": "the subscription has as many storage "
        "accounts as it may in this location: choose another with --location, or raise the limit",
        "ServiceUnavailable": "the location has no room for new accounts now, or the service is "
        "down: repeat later, or choose another with --location; an account that is 'failed' has "
        "to be deleted first",
        "BadRequest": "Azure does not take it; its own words are in the activity log of the "
        "resource group. With --free-tier: another account of the subscription may have it",
    }
)
"""By the error code of Azure."""


def explained(error: WorkspaceError, what: str) -> WorkspaceError:
    """The error with what helps against this very refusal, where that is known."""
    code = error.metadata.get("code", "")
    if code not in _REMEDIES:
        return error
    return WorkspaceError(
        Reason.ERROR_REASON_INVALID_STATE, f"{what}: {_REMEDIES[code]} ({code})",
        metadata={"field": "azure", "code": code},
    )  # fmt: skip
