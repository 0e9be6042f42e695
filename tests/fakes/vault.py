"""The secrets of a Key Vault (REST reference: Get Secret, Set Secret, Get Secret Versions,
Delete Secret, Recover Deleted Secret; "Authentication, requests and responses"). Versions know
their second only, as there. A request without a good token is answered by the challenge.
"""

from __future__ import annotations

import re
import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.fakes.https import Answer, HttpsFake, Request
from tests.fakes.sign_in import TENANT_ID

__all__ = ["Vault"]

_PATH = re.compile(r"/(secrets|deletedsecrets)/([0-9a-zA-Z-]{1,127})(?:/([0-9a-z]+))?(/recover)?/?")
_MOST_BYTES = 25 * 1024
_PAGE = 25


@dataclass
class Version:
    value: str
    tags: dict[str, str]
    created: int
    name: str = field(default_factory=lambda: uuid.uuid4().hex)
    enabled: bool = True


class Vault(HttpsFake):
    """`roles` are what the identity may do: `get`, `list`, `set`, `delete`, `recover`. `secrets`
    are versions by name, oldest first; `deleted` those that were deleted."""

    audiences = ("https://vault.azure.net",)

    def __init__(self, certificate: tuple[Path, Path]) -> None:
        super().__init__(certificate)
        self.roles = {"get", "list", "set", "delete", "recover"}
        self.secrets: dict[str, list[Version]] = {}
        self.deleted: dict[str, list[Version]] = {}
        self.clock: Callable[[], int] = lambda: int(time.time())

    def put(self, secret: str, value: str, **more: Any) -> Version:
        """A new version, as somebody else makes it."""
        with self.lock:
            made = Version(value, more.pop("tags", {}), more.pop("created", self.clock()), **more)
            self.secrets.setdefault(secret, []).append(made)
            return made

    def delete(self, name: str) -> None:
        """As a vault with soft delete does, which all are."""
        with self.lock:
            self.deleted[name] = self.secrets.pop(name)

    def unauthorized(self) -> Answer:
        refused = self.error(401, "Unauthorized", "AKV10000: Request is missing a Bearer token.")
        challenge = (
            f'Bearer authorization="https://login.microsoftonline.com/{TENANT_ID}", '
            'resource="https://vault.azure.net"'
        )
        return Answer(401, refused.document, {"WWW-Authenticate": challenge})

    def handle(self, request: Request) -> Answer:
        found = _PATH.fullmatch(request.path)
        if found is None or not re.fullmatch(r"7\.[0-9]|20\d\d-\d\d-\d\d", _version(request)):
            return self.error(400, "BadParameter", "The request URI or the version is invalid.")
        kind, name, version, _ = found.groups()
        if kind == "deletedsecrets":
            return self.error(404, "SecretNotFound")
        if request.method == "PUT":
            return self._allowed("set") or self._set(name, request)
        if version == "versions":
            return self._allowed("list") or self._list(name, request)
        return self._allowed("get") or self._get(name, version or "")

    def _allowed(self, action: str) -> Answer | None:
        if action in self.roles:
            return None
        inner = {"code": "ForbiddenByRbac"}
        text = f"Caller is not authorized to perform action on resource. Action: '{action}'"
        return self.error(403, "Forbidden", text, innererror=inner)

    def _get(self, name: str, version: str) -> Answer:
        versions = [v for v in self.secrets.get(name, []) if version in ("", v.name)]
        if not versions:
            return self.error(404, "SecretNotFound", f"A secret with {name} was not found.")
        if not versions[-1].enabled:
            text, inner = "Operation get is not allowed on a disabled secret.", "SecretDisabled"
            return self.error(403, "Forbidden", text, innererror={"code": inner})
        return Answer(200, {"value": versions[-1].value, **self._item(name, versions[-1])})

    def _set(self, name: str, request: Request) -> Answer:
        given = request.json()
        if name in self.deleted:
            text = f"Secret {name} is currently in a deleted but recoverable state."
            inner = {"code": "ObjectIsDeletedButRecoverable"}
            return self.error(409, "Conflict", text, innererror=inner)
        if len(given["value"].encode()) > _MOST_BYTES:
            return self.error(400, "BadParameter", "The value of the secret is too long.")
        made = self.put(name, given["value"], tags=given.get("tags") or {})
        return Answer(200, {"value": made.value, **self._item(name, made)})

    def _list(self, name: str, request: Request) -> Answer:
        """In no order that tells anything, in pages."""
        versions = sorted(self.secrets.get(name, []), key=lambda each: each.name)
        start = int(request.query.get("$skiptoken", 0))
        page = versions[start : start + _PAGE]
        more = f"{self.url}/secrets/{name}/versions?api-version={_version(request)}&$skiptoken="
        is_more = len(versions) > start + _PAGE
        return Answer(
            200,
            {
                "value": [self._item(name, each) for each in page],
                "nextLink": f"{more}{start + _PAGE}" if is_more else None,
            },
        )

    def _item(self, name: str, version: Version) -> dict[str, Any]:
        attributes = {
            "enabled": version.enabled, "created": version.created, "updated": version.created,
            "recoveryLevel": "Recoverable+Purgeable", "recoverableDays": 90,
        }  # fmt: skip
        identity = f"{self.url}/secrets/{name}/{version.name}"
        return {"id": identity, "attributes": attributes, "tags": version.tags}


def _version(request: Request) -> str:
    return request.query.get("api-version", "")
