"""Calls to Azure Resource Manager: repeated while that helps, refused with what to do.

Resources are read and written by their identifiers through `azure-mgmt-resource`, in the
API versions of `desired.py`: those of the templates, whatever version the SDK has.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Mapping
from typing import Any

from azure.core import AzureClouds
from azure.core.rest import AsyncHttpResponse, HttpRequest
from azure.mgmt.core.tools import get_arm_endpoints
from azure.mgmt.resource.resources.aio import ResourceManagementClient

from services.azure.clients import AzureClients
from services.azure.failures import Failure, Kind, failure_of, refusal
from services.azure.transport import SteadyTransport
from services.model.errors import WorkspaceError
from services.setup.patience import Patience, refused
from services.setup.plan import Call

__all__ = ["ArmApi", "Waiting"]

Waiting = Callable[[str, float], None]

_CLOUDS = {
    "public": AzureClouds.AZURE_PUBLIC_CLOUD,
    "usgovernment": AzureClouds.AZURE_US_GOVERNMENT,
    "china": AzureClouds.AZURE_CHINA_CLOUD,
}
# Resource Manager and the services say these while an earlier change is under way, and
# while a new name is not known everywhere.
_UNDER_WAY = frozenset(
    {
        "AnotherOperationInProgress", "Conflict", "ConflictingConcurrentWriteNotAllowed",
        "OperationNotAllowedOnAccountInProvisioningState", "PreconditionFailed",
        "PrincipalNotFound", "ResourceGroupBeingDeleted", "RetryableError",
        "StorageAccountIsNotProvisioned", "StorageAccountOperationInProgress",
    }
)
# Somebody else was as quick: what is wanted is there.
_DONE = "RoleAssignmentExists"
# A 404 that is not about the resource.
_NOT_ABSENT = frozenset({"SubscriptionNotFound", "InvalidSubscriptionId", "InvalidResourceType"})
_TOLD_EVERY = 15.0


class ArmApi:
    """Reads and writes of one setup. `writes` are the writing calls that were sent."""

    def __init__(
        self,
        clients: AzureClients,
        *,
        patience: Patience | None = None,
        polling_seconds: float = 5.0,
        told_every: float = _TOLD_EVERY,
    ) -> None:
        self._clients = clients
        self._patience = patience or Patience("wm setup azure")
        self._polling = polling_seconds
        self._told_every = told_every
        self._client: ResourceManagementClient | None = None
        self.until = self._patience.until
        self.scope: str = get_arm_endpoints(_CLOUDS[clients.place.cloud])["credential_scopes"][0]
        self.writes: list[str] = []

    async def read(
        self, path: str, version: str, what: str, *, within: bool = True
    ) -> dict[str, Any] | None:
        """The resource; None when there is none. `within`: what it is in has to be there."""
        request = _request("GET", path, version)
        return await self._answer(request, what, absent=True, within=within)

    async def listed(self, path: str, version: str, what: str) -> list[dict[str, Any]]:
        """All pages of a list; empty when what it belongs to is not there."""
        found: list[dict[str, Any]] = []
        page = await self.read(path, version, what)
        while page:
            found += page.get("value", [])
            more = str(page.get("nextLink") or "")
            page = await self._answer(HttpRequest("GET", more), what) if more else None
        return found

    async def ask(
        self, method: str, path: str, version: str, what: str, body: Any = None
    ) -> dict[str, Any] | None:
        """The answer of a call that changes nothing, though it is no GET; None for 404."""
        return await self._answer(_request(method, path, version, body), what, absent=True)

    async def token(self) -> str:
        """The token with which calls are made."""

        async def get() -> str:
            return (await self._clients.credential.get_token(self.scope)).token

        return str(await self._repeated(get, "these credentials", answers=False))

    async def write(self, call: Call, what: str, waiting: Waiting) -> dict[str, Any]:
        """The answer of a writing call, when its operation has ended."""
        self.writes.append(f"{call.operation} {call.parameters['path']}")
        answer: dict[str, Any] = await self._repeated(
            lambda: self._written(call, what, waiting), what, service=call.service,
            under_way=_UNDER_WAY,
        )  # fmt: skip
        return answer

    async def close(self) -> None:
        """End the client; its credential is closed by `clients`."""
        if self._client is not None:
            await self._client.close()
            self._client = None

    async def _written(self, call: Call, what: str, waiting: Waiting) -> dict[str, Any]:
        path, version = call.parameters["path"], call.parameters["api_version"]
        body: Any = await self._body(call)
        if call.operation == "POST":
            return await self._sent(_request("POST", path, version, body)) or {}
        resources = self._management().resources
        begin = (
            resources.begin_create_or_update_by_id
            if call.operation == "PUT"
            else resources.begin_update_by_id
        )
        poller = await begin(path.lstrip("/"), body, api_version=version)
        ended = asyncio.ensure_future(poller.result())
        return dict((await self._awaited(ended, what, waiting)).as_dict())

    async def _body(self, call: Call) -> Any:
        """What to send; of what others change too it is made of what is there now."""
        remade = call.parameters.get("remade")
        if remade is None:
            return call.parameters.get("body")
        request = _request("GET", call.parameters["path"], call.parameters["api_version"])
        there = await self._sent(request, absent=True) or {}
        return {"properties": remade(there.get("properties", {}))}

    async def _awaited(self, ended: asyncio.Future[Any], what: str, waiting: Waiting) -> Any:
        """The result; what takes long is told."""
        begun = asyncio.get_running_loop().time()
        try:
            while not (await asyncio.wait([ended], timeout=self._told_every))[0]:
                waiting(what, asyncio.get_running_loop().time() - begun)
            return await ended
        finally:
            ended.cancel()

    async def _answer(
        self, request: HttpRequest, what: str, *, absent: bool = False, within: bool = True
    ) -> dict[str, Any] | None:
        async def send() -> dict[str, Any] | None:
            return await self._sent(request, absent=absent, within=within)

        answer: dict[str, Any] | None = await self._repeated(send, what)
        return answer

    async def _sent(
        self, request: HttpRequest, *, absent: bool = False, within: bool = True
    ) -> dict[str, Any] | None:
        response: AsyncHttpResponse = await self._management().send_request(request)
        is_absent = absent and response.status_code == 404
        if is_absent and not (within and _code(response) in _NOT_ABSENT):
            return None
        response.raise_for_status()
        return dict(response.json()) if response.content else {}

    async def _repeated(
        self,
        call: Callable[[], Any],
        what: str,
        *,
        service: str = "management",
        under_way: Collection[str] = (),
        answers: bool = True,
    ) -> Any:
        def again(error: Exception) -> bool:
            failure = failure_of(error, service)
            return failure.passing or failure.code in under_way

        try:
            return await self._patience.repeated(call, again=again, answers=answers)
        except WorkspaceError:
            raise
        except Exception as error:
            failure = failure_of(error, service)
            if failure.code == _DONE:
                return {}
            raise _refusal(failure, what) from None

    def _management(self) -> ResourceManagementClient:
        if self._client is None:
            place, options = self._clients.place, self._clients.options()
            self._client = ResourceManagementClient(
                self._clients.credential,
                "-",  # in no path that is used here
                place.management_url(),
                cloud_setting=_CLOUDS[place.cloud],
                polling_interval=self._polling,
                transport=SteadyTransport(**options),
                **options,
            )
        return self._client


def _request(method: str, path: str, version: str, body: Any = None) -> HttpRequest:
    sign = "&" if "?" in path else "?"
    json = body if isinstance(body, Mapping) else None
    return HttpRequest(method, f"{path}{sign}api-version={version}", json=json)


def _code(response: AsyncHttpResponse) -> str:
    try:
        return str(response.json()["error"]["code"])
    except (KeyError, TypeError, ValueError):
        return ""


def _refusal(failure: Failure, what: str) -> WorkspaceError:
    """With the code in its metadata: what helps against some is for `remedies.py`."""
    if failure.kind is Kind.INVALID:
        made = refused(
            f"{what}: {failure.service} failed ({failure.code}): {failure.kind.value}; Azure's own "
            "words are in the activity log of the resource group"
        )
    else:
        made = refusal(failure, what)
    made.metadata["code"] = failure.code
    return made
