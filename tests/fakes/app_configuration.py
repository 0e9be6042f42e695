"""The key-values of an App Configuration store (REST reference: Key-values). They
are read only; `settings` has them by key and label, `put` makes them.
"""

from __future__ import annotations

import json
import secrets
from pathlib import Path
from typing import Any

from tests.fakes.https import Answer, HttpsFake, Request

__all__ = ["TO_VAULT", "Store"]

TO_VAULT = "application/vnd.microsoft.appconfig.keyvaultref+json;charset=utf-8"
_VERSIONS = ("1.0", "2023-10-01", "2023-11-01", "2024-09-01", "2026-04-01")


class Store(HttpsFake):
    """`role`: whether the identity may read."""

    audiences = ("https://appconfig.azure.com", "https://azconfig.io")

    def __init__(self, certificate: tuple[Path, Path]) -> None:
        super().__init__(certificate)
        self.settings: dict[tuple[str, str], dict[str, Any]] = {}
        self.role = True

    def put(self, key: str, value: str, *, label: str = "", content_type: str = "") -> None:
        with self.lock:
            self.settings[(key, label)] = {
                "etag": secrets.token_hex(8), "key": key, "label": label or None,
                "content_type": content_type or None, "value": value, "tags": {},
                "locked": False, "last_modified": "2026-11-21T10:00:00+00:00",
            }  # fmt: skip

    def refer(self, key: str, url: str, **more: str) -> None:
        """A value that leads to a secret of Key Vault."""
        self.put(key, json.dumps({"uri": url}), content_type=TO_VAULT, **more)

    def error(self, status: int, code: str, message: str = "", **more: Any) -> Answer:
        """Errors are "problem details" there (RFC 7807)."""
        kind = {"Content-Type": "application/problem+json; charset=utf-8"}
        title = {"type": f"https://azconfig.io/errors/{code}", "title": message or code}
        return Answer(status, {**title, "status": status, **more}, kind)

    def handle(self, request: Request) -> Answer:
        if request.query.get("api-version") not in _VERSIONS:
            return self.error(400, "invalid-argument", "The api-version is not supported.")
        if not self.role:
            return self.error(403, "forbidden", "The token has no permission for this.")
        key = request.path.removeprefix("/kv/")
        found = self.settings.get((key, request.query.get("label", "")))
        if request.method != "GET" or found is None:
            return Answer(404)
        kind = "application/vnd.microsoft.appconfig.kv+json; charset=utf-8"
        return Answer(200, found, {"Content-Type": kind, "ETag": f'"{found["etag"]}"'})
