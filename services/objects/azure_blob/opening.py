"""Whether a container can be used, and if not, what helps."""

from __future__ import annotations

from datetime import UTC, datetime

from azure.storage.blob import UserDelegationKey

from services.azure.failures import Failure, Kind, refusal
from services.azure.roles import ROLES
from services.model.errors import Reason, WorkspaceError
from services.objects.azure_blob.errors import Refused
from services.objects.azure_blob.wire import Headers, Wire
from services.objects.port import StoreUnavailable

__all__ = ["check_container", "fetch_key", "key_refusal", "require_private", "what"]


def what(wire: Wire) -> str:
    """How messages name the container."""
    return f"container {wire.container} of storage account {wire.account}"


async def check_container(wire: Wire, *, patience: float) -> Headers:
    """The headers of its properties. Raises WorkspaceError: no such container, a role that
    is missing, no or strange credentials, no answer within `patience` seconds and one
    attempt."""
    try:
        _, headers = await wire.asked(wire.blobs.get_container_properties, patience=patience)
    except Refused as refused:
        raise refusal(refused.failure, what(wire)) from refused
    return headers


def key_refusal(error: Refused | StoreUnavailable, wire: Wire) -> WorkspaceError:
    """Why no key to sign URLs with was given, although the container answers."""
    name = f"{what(wire)} gives no user delegation key, which signs URLs"
    failure = error.failure if isinstance(error, Refused) else None
    if failure is not None and failure.kind is Kind.DENIED:
        return WorkspaceError(
            Reason.ERROR_REASON_BACKEND_UNAVAILABLE,
            f"{name} ({failure.code}): assign '{ROLES['blob'].label}' to these credentials on "
            "the storage account; a role on the container alone is not enough for it",
            metadata={"backend": "azure", "failure": failure.kind.name.lower()},
        )
    if failure is not None and failure.kind in (Kind.INVALID, Kind.BAD_CREDENTIALS):
        return _keys_only(name, failure)
    return refusal(failure or Failure(Kind.UNAVAILABLE, "BadAnswer", "blob"), name)


async def require_private(wire: Wire, *, patience: float) -> None:
    """Raises INVALID_STATE when everybody may read the container: files of a workspace are
    private, and there is no setting that allows it."""
    headers = await check_container(wire, patience=patience)
    level = headers.get("x-ms-blob-public-access", "")
    if level:
        raise WorkspaceError(
            Reason.ERROR_REASON_INVALID_STATE,
            f"{what(wire)} is public (access level '{level}'), and files of a workspace are "
            "private: set its access level to private, then run `wm setup azure`, which "
            "forbids public access for the account",
            metadata={"exposure": "public"},
        )


async def fetch_key(
    wire: Wire, start: float, end: float, *, patience: float | None = None
) -> tuple[UserDelegationKey, Headers]:
    """A user delegation key for that time, in unix seconds. Raises Refused."""
    begin, until = (datetime.fromtimestamp(int(each), UTC) for each in (start, end))
    return await wire.asked(
        wire.service.get_user_delegation_key, begin, until, patience=patience
    )


def _keys_only(name: str, failure: Failure) -> WorkspaceError:
    return WorkspaceError(
        Reason.ERROR_REASON_BACKEND_UNAVAILABLE,
        f"{name} ({failure.code}): the account must take sign-ins of Microsoft Entra, and not "
        "account keys alone: use a general-purpose v2 account (`wm setup azure` makes one)",
        metadata={"backend": "azure", "failure": failure.kind.name.lower()},
    )
