"""The fake: which request is about what."""

from __future__ import annotations

import copy
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.fakes.arm import authorization, documentdb, storage
from tests.fakes.arm.errors import Refused, absent_resource, bad
from tests.fakes.arm.operations import Operation, Operations
from tests.fakes.https import Answer, HttpsFake, Request
from tests.fakes.sign_in import TENANT_ID

__all__ = ["OTHER", "SUBSCRIPTION", "Arm"]

SUBSCRIPTION = "aaaaaaaa-1111-4222-8333-bbbbbbbbbbbb"
OTHER = "cccccccc-1111-4222-8333-dddddddddddd"
"""A subscription of another tenant."""

_VERSIONS = {
    "Microsoft.Resources": {"2021-04-01", "2022-12-01", "2024-03-01", "2024-07-01", "2025-04-01"},
    "Microsoft.Storage": {"2023-01-01", "2023-05-01", "2024-01-01", "2025-01-01"},
    "Microsoft.DocumentDB": {"2024-05-15", "2024-08-15", "2024-11-15", "2025-04-15"},
    "Microsoft.Authorization": {"2022-04-01"},
}
_SUBSCRIPTION = r"/subscriptions/([0-9a-fA-F-]{36})"
_ROUTES: list[tuple[str, str]] = [
    (r"/subscriptions", "subscriptions"),
    (_SUBSCRIPTION, "subscription"),
    (rf"{_SUBSCRIPTION}/providers/([\w.]+)(/register)?", "provider"),
    (rf"{_SUBSCRIPTION}/providers/Microsoft\.Storage/checkNameAvailability", "storage_name"),
    (rf"{_SUBSCRIPTION}/providers/([\w.]+)/(storageAccounts|databaseAccounts)", "accounts"),
    (rf"{_SUBSCRIPTION}/providers/[\w.]+/locations/\w+/(status|results)/([\w-]+)", "operation"),
    (r"/providers/Microsoft\.DocumentDB/databaseAccountNames/([\w-]+)", "cosmos_name"),
    (r"(/.+)/providers/Microsoft\.Authorization/roleAssignments(?:/([\w-]+))?", "roles"),
    (rf"{_SUBSCRIPTION}/resourceGroups/([^/]+)", "group"),
    (rf"{_SUBSCRIPTION}/resourceGroups/([^/]+)/providers/([\w.]+)/(.+)", "resource"),
]


class Arm(HttpsFake):
    """`taken` are names of accounts that others have, `denied` actions that the caller may
    not do, `subscriptions` what it sees; `at` one-shot faults by method and part of the path;
    `failures` errors of operations by part of the path; `role_lag` how many lists do not
    show a new role yet. `page` is how many a list has in one answer."""

    audiences = ("https://management.azure.com",)

    def __init__(self, certificate: tuple[Path, Path]) -> None:
        super().__init__(certificate)
        self.reset()

    def reset(self) -> None:
        """As new."""
        with self.lock:
            self.requests.clear()
            self.faults.clear()
            self.always = None
            self.subscriptions: list[dict[str, Any]] = [_subscription(SUBSCRIPTION, "Tests")]
            self.registered = {"Microsoft.Storage", "Microsoft.Authorization"}
            self.registering: dict[str, int] = {}
            self.taken: set[str] = set()
            self.denied: set[str] = set()
            self.at: list[tuple[str, str, Answer]] = []
            self.failures: dict[str, tuple[str, str]] = {}
            self.role_lag = 0
            self.page = 100
            self.operations = Operations()
            self.groups: dict[str, dict[str, Any]] = {}
            self.resources: dict[str, dict[str, Any]] = {}
            self.roles: dict[str, dict[str, Any]] = {}

    @property
    def wrote(self) -> list[str]:
        """Requests that change something."""
        reads = ("/checkNameAvailability",)
        return [
            f"{each.method} {each.path}"
            for each in self.requests
            if each.method not in ("GET", "HEAD") and not each.path.endswith(reads)
        ]

    def of(self, name: str) -> dict[str, Any]:
        """The resource whose identifier ends so."""
        with self.lock:
            found = [each for path, each in self.resources.items() if path.endswith(name.lower())]
            (one,) = found
            return one

    def unauthorized(self) -> Answer:
        refused = self.error(401, "AuthenticationFailed", "Authentication failed.")
        return Answer(401, refused.document, {"WWW-Authenticate": "Bearer error=\"invalid_token\""})

    def handle(self, request: Request) -> Answer:
        for index, (method, part, answer) in enumerate(self.at):
            if method == request.method and part.lower() in request.path.lower():
                del self.at[index]
                return answer
        try:
            return self._route(request)
        except Refused as error:
            return self.error(error.status, error.code, error.message)

    def _route(self, request: Request) -> Answer:
        for pattern, name in _ROUTES:
            found = re.fullmatch(pattern, request.path, re.IGNORECASE)
            if found is None:
                continue
            if name != "operation":
                _check_version(request, name)
            if found.re.groups and request.path.lower().startswith("/subscriptions/"):
                self._check_subscription(request.path.split("/")[2])
            act: Callable[..., Answer] = getattr(self, f"_{name}")
            return act(request, *found.groups())
        raise Refused(404, "InvalidResourceType", request.path)

    def _check_subscription(self, subscription: str) -> None:
        if subscription == OTHER:
            raise Refused(401, "InvalidAuthenticationTokenTenant", "wrong tenant")
        if subscription not in [each["subscriptionId"] for each in self.subscriptions]:
            raise Refused(404, "SubscriptionNotFound", subscription)

    def _may(self, action: str) -> None:
        if action in self.denied:
            raise Refused(403, "AuthorizationFailed", f"does not have authorization for {action}")

    def _subscriptions(self, _request: Request) -> Answer:
        return Answer(200, {"value": self.subscriptions})

    def _subscription(self, _request: Request, subscription: str) -> Answer:
        one = [each for each in self.subscriptions if each["subscriptionId"] == subscription]
        return Answer(200, one[0])

    def _provider(self, request: Request, _s: str, name: str, register: str | None) -> Answer:
        if request.method == "POST" and register:
            self._may(f"{name}/register/action")
            self.registering[name] = self.operations.looks
        elif name in self.registering:
            self.registering[name] -= 1
            if self.registering[name] < 0:
                del self.registering[name]
                self.registered.add(name)
        state = "Registering" if name in self.registering else "NotRegistered"
        state = "Registered" if name in self.registered else state
        return Answer(200, {"namespace": name, "registrationState": state})

    def _storage_name(self, request: Request, _subscription: str) -> Answer:
        body = request.json()
        if body.get("type") != "Microsoft.Storage/storageAccounts":
            raise bad("type")
        if self._is_taken(body["name"], "storageaccounts"):
            message = f"The storage account named {body['name']} is already taken."
            return Answer(
                200, {"nameAvailable": False, "reason": "AlreadyExists", "message": message}
            )
        return Answer(200, {"nameAvailable": True})

    def _cosmos_name(self, request: Request, name: str) -> Answer:
        if request.method != "HEAD":
            raise Refused(405, "HttpMethodNotAllowed", request.method)
        return Answer(200 if self._is_taken(name, "databaseaccounts") else 404)

    def _is_taken(self, name: str, kind: str) -> bool:
        ours = any(path.endswith(f"/{kind}/{name}") for path in self.resources)
        return ours or name in self.taken

    def _accounts(self, request: Request, _s: str, provider: str, kind: str) -> Answer:
        inside = f"/providers/{provider}/{kind}/".lower()
        found = [
            each for path, each in self.resources.items()
            if inside in path and path.count("/") == 8
        ]  # fmt: skip
        return self._listed(request, found)

    def _operation(self, _request: Request, _s: str, way: str, name: str) -> Answer:
        operation = self.operations.all[name]
        operation.look()
        if way == "results":
            if not operation.is_over:
                return Answer(202, None, _headers(_request, operation))
            return Answer(200, operation.result)
        if not operation.is_over:
            return Answer(200, {"status": "InProgress"}, {"Retry-After": "0"})
        if operation.failure[0]:
            code, message = operation.failure
            return Answer(200, {"status": "Failed", "error": {"code": code, "message": message}})
        return Answer(200, {"status": "Succeeded"})

    def _group(self, request: Request, subscription: str, name: str) -> Answer:
        path = f"/subscriptions/{subscription}/resourceGroups/{name}"
        there = self.groups.get(path.lower())
        if request.method == "GET":
            self._may("Microsoft.Resources/subscriptions/resourceGroups/read")
            if there is None:
                raise Refused(404, "ResourceGroupNotFound", name)
            return Answer(200, there)
        self._may("Microsoft.Resources/subscriptions/resourceGroups/write")
        body = request.json()
        if there is None and request.method == "PATCH":
            raise Refused(404, "ResourceGroupNotFound", name)
        if there is not None and body.get("location", there["location"]) != there["location"]:
            raise Refused(409, "InvalidResourceGroupLocation", name)
        kept = there or {"id": path, "name": name, "location": body.get("location")}
        made = {**kept, "tags": body.get("tags", kept.get("tags", {}))}
        made["properties"] = {"provisioningState": "Succeeded"}
        self.groups[path.lower()] = made
        return Answer(200 if there else 201, made)

    def _roles(self, request: Request, scope: str, name: str | None) -> Answer:
        if scope.lower() not in self.resources and scope.lower() not in self.groups:
            raise absent_resource(scope)
        if request.method == "GET" and name is None:
            found = authorization.assigned(self.roles, scope, request.query.get("$filter", ""))
            if self.role_lag:
                self.role_lag -= 1
                found = []
            return self._listed(request, found)
        path = f"{scope}/providers/Microsoft.Authorization/roleAssignments/{name}"
        if request.method == "GET":
            if path.lower() not in self.roles:
                raise Refused(404, "RoleAssignmentNotFound", path)
            return Answer(200, self.roles[path.lower()])
        self._may("Microsoft.Authorization/roleAssignments/write")
        made = authorization.assignment(self.roles, scope, str(name), request.json())
        self.roles[path.lower()] = {"id": path, "name": name, **made}
        return Answer(201, self.roles[path.lower()])

    def _listed(self, request: Request, found: list[dict[str, Any]]) -> Answer:
        begin = int(request.query.get("$skipToken", "0"))
        end = begin + self.page
        answer: dict[str, Any] = {"value": found[begin:end]}
        if end < len(found):
            asked = "&".join(f"{key}={value}" for key, value in request.query.items()
                             if key not in ("$skipToken", "$filter"))  # fmt: skip
            asked += f"&$filter={request.query['$filter']}" if "$filter" in request.query else ""
            link = f"{self.url}{request.path}?{asked}&$skipToken={end}"
            answer["nextLink"] = link.replace(" ", "%20")
        return Answer(200, answer)

    def _resource(
        self, request: Request, subscription: str, group: str, provider: str, rest: str
    ) -> Answer:
        parent = f"/subscriptions/{subscription}/resourceGroups/{group}"
        if parent.lower() not in self.groups:
            raise Refused(404, "ResourceGroupNotFound", f"Resource group '{group}'")
        path = f"{parent}/providers/{provider}/{rest}"
        kind = "/".join([provider, *rest.split("/")[0::2]])
        if request.method == "GET":
            self._may(f"{kind}/read")
            return self._read(request, path, kind, is_list=rest.count("/") % 2 == 0)
        if request.method not in ("PUT", "PATCH"):
            raise Refused(405, "HttpMethodNotAllowed", request.method)
        self._may(f"{kind}/write")
        if provider not in self.registered:
            raise Refused(409, "MissingSubscriptionRegistration", provider)
        if self.operations.under_way(path.lower()):
            raise _busy(provider)
        return self._write(request, path, kind)

    def _read(self, request: Request, path: str, kind: str, *, is_list: bool) -> Answer:
        self.operations.looked_at(path.lower())
        if is_list:
            inside = path.lower() + "/"
            found = [
                each for at, each in self.resources.items()
                if at.startswith(inside) and "/" not in at.removeprefix(inside)
            ]  # fmt: skip
            parent = path.rpartition("/")[0].lower()
            if parent not in self.resources and not parent.endswith("/default"):
                raise absent_resource(parent)
            return self._listed(request, found)
        there = self.resources.get(path.lower())
        account = path.lower().partition("/blobservices/")[0]
        if there is None and kind.endswith("/blobServices") and account in self.resources:
            return Answer(200, _named(path, kind, storage.blob_service({})))
        if there is None:
            raise absent_resource(path)
        return Answer(200, there)

    def _write(self, request: Request, path: str, kind: str) -> Answer:
        body = request.json()
        there = self.resources.get(path.lower())
        if there is None and request.method == "PATCH":
            raise absent_resource(path)
        made = _named(path, kind, self._made(kind, path, there, body))
        slow = kind.startswith("Microsoft.DocumentDB") or (
            kind.endswith("/storageAccounts") and there is None
        )
        self.resources[path.lower()] = made
        is_items = kind.endswith("/sqlDatabases/containers") and there is None
        if is_items and (found := documentdb.throughput(body)):
            settings = f"{path}/throughputSettings/default"
            self.resources[settings.lower()] = {"id": settings, **found}
        if not slow:
            return Answer(200 if there else 201, made)
        return self._begun(request, path, made, is_new=there is None)

    def _made(
        self, kind: str, path: str, there: dict[str, Any] | None, body: dict[str, Any]
    ) -> dict[str, Any]:
        name = path.rpartition("/")[2]
        short = kind.rpartition("/")[2]
        parent = self._parent(path, kind)
        if short == "storageAccounts":
            if there is None and name in self.taken:
                raise Refused(409, "StorageAccountAlreadyTaken", name)
            return storage.changed_account(there, body) if there else storage.account(name, body)
        if short == "databaseAccounts":
            if there is None and name in self.taken:
                raise bad(f"Dns record for {name} under zone Document is already taken.")
            if there:
                return documentdb.changed_account(there, body)
            return documentdb.account(name, body)
        if short == "blobServices":
            return storage.blob_service(body)
        if kind.endswith("/blobServices/containers"):
            allowed = parent["properties"].get("allowBlobPublicAccess") is not False
            return storage.container(name, there, body, open_allowed=allowed)
        if short == "managementPolicies":
            return storage.lifecycle(body)
        if short == "sqlDatabases":
            return documentdb.database(name, there, body)
        if short == "sqlRoleAssignments":
            return documentdb.assignment(path, body)
        if kind.endswith("/sqlDatabases/containers"):
            capabilities = parent["properties"]["capabilities"]
            serverless = {"name": "EnableServerless"} in capabilities
            return documentdb.container(name, there, body, serverless=serverless)
        raise Refused(404, "InvalidResourceType", kind)

    def _parent(self, path: str, kind: str) -> dict[str, Any]:
        """The account, which must be there; and the database of a container."""
        parts = path.split("/")
        account = "/".join(parts[:9])
        if len(parts) > 9 and account.lower() not in self.resources:
            raise Refused(404, "ParentResourceNotFound", account)
        if kind.endswith("/sqlDatabases/containers"):
            database = "/".join(parts[:11])
            if database.lower() not in self.resources:
                raise absent_resource(database)
        return self.resources.get(account.lower(), {})

    def _begun(
        self, request: Request, path: str, made: dict[str, Any], *, is_new: bool
    ) -> Answer:
        """Seen at once, and ready when its operation has ended."""
        is_account = "provisioningState" in made["properties"] or path.count("/") == 8
        if is_account:
            made["properties"]["provisioningState"] = "Creating" if is_new else "Updating"

        def ended() -> dict[str, Any]:
            if is_account:
                made["properties"]["provisioningState"] = "Succeeded"
            return copy.deepcopy(made)

        by_location = "Microsoft.Storage" in path
        failure = next((why for part, why in self.failures.items() if part in path), ("", ""))
        if failure[0]:
            made["properties"]["provisioningState"] = "Failed"
        operation = self.operations.begin(
            Operation(path.lower(), by_location, self.operations.looks, ended, failure)
        )
        document = None if by_location else copy.deepcopy(made)
        return Answer(202, document, _headers(request, operation, self.url))


def _headers(request: Request, operation: Operation, url: str = "") -> dict[str, str]:
    url = url or f"https://{request.headers['host']}"
    subscription, provider = request.path.split("/")[2], "Microsoft.DocumentDB"
    if operation.by_location:
        provider = "Microsoft.Storage"
    at = f"{url}/subscriptions/{subscription}/providers/{provider}/locations/eastus"
    version = f"api-version={request.query['api-version']}"
    location = {"Location": f"{at}/results/{operation.name}?{version}", "Retry-After": "0"}
    if operation.by_location:
        return location
    return {"Azure-AsyncOperation": f"{at}/status/{operation.name}?{version}", **location}


def _named(path: str, kind: str, body: dict[str, Any]) -> dict[str, Any]:
    return {"id": path, "name": path.rpartition("/")[2], "type": kind, **body}


def _busy(provider: str) -> Refused:
    if provider == "Microsoft.Storage":
        return Refused(409, "StorageAccountIsNotProvisioned", "must be 'Succeeded' before")
    message = "There is already an operation in progress which requires exclusive lock"
    return Refused(412, "PreconditionFailed", message)


def _check_version(request: Request, route: str) -> None:
    version = request.query.get("api-version")
    if version is None:
        raise Refused(400, "MissingApiVersionParameter", "api-version")
    providers = re.findall(r"/providers/([\w.]+)", request.path)
    provider = "Microsoft.Resources" if route == "provider" or not providers else providers[-1]
    if version not in _VERSIONS.get(provider, set()):
        raise Refused(400, "NoRegisteredProviderFound", f"{provider} has no version {version}")


def _subscription(identifier: str, name: str, state: str = "Enabled") -> dict[str, Any]:
    return {
        "id": f"/subscriptions/{identifier}", "subscriptionId": identifier, "displayName": name,
        "state": state, "tenantId": TENANT_ID,
    }  # fmt: skip
