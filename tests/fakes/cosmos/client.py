"""The control plane of a running fake, for tests."""

from __future__ import annotations

import json
import ssl
import urllib.request
from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any

__all__ = ["CosmosControl"]


class CosmosControl:
    """One account of the fake at `url` (its root). `url` of the control is what clients
    connect to. Accounts with other settings cost nothing: make one per test."""

    def __init__(self, root: str, ca_file: str, account: str = "") -> None:
        self._root, self._account = root.rstrip("/"), account
        self._ca_file = ca_file

    @property
    def url(self) -> str:
        return f"{self._root}/{self._account}" if self._account else self._root

    def account(self, name: str, **settings: Any) -> CosmosControl:
        """A new, empty account: consistency, multi_write, locations, partitions, tenant,
        default_role, roles, management."""
        made = CosmosControl(self._root, self._ca_file, name)
        made._call("POST", "", settings)
        return made

    def settings(self, **settings: Any) -> None:
        self._call("POST", "/settings", settings)

    def make_container(
        self,
        database: str,
        definition: Mapping[str, Any],
        *,
        partitions: int = 0,
    ) -> dict[str, Any]:
        """As Azure Resource Manager would; the database too when there is none."""
        given = {"database": database, "definition": definition, "partitions": partitions}
        return dict(self._call("POST", "/containers", given))

    def delete_container(self, database: str, container: str) -> None:
        self._call("DELETE", "/containers", {"database": database, "container": container})

    def split(self, database: str, container: str, identifier: str = "") -> list[str]:
        """Split a physical partition (the first of them); its children."""
        given = {"database": database, "container": container, "range": identifier}
        return list(self._call("POST", "/split", given)["children"])

    def advance(self, seconds: float) -> None:
        """Move the clock of the account."""
        self._call("POST", "/clock", {"advance": seconds})

    def fail(self, fault: str, operation: str = "*", **more: int) -> None:
        """One rule (at, times, retry_after_ms), instead of the plan before."""
        self.plan([{"fault": fault, "operation": operation, **more}])

    def plan(
        self,
        rules: Sequence[Mapping[str, Any]] = (),
        *,
        seeded: Mapping[str, Any] | None = None,
        silence: float = 3600.0,
    ) -> None:
        """Replace the plan of faults (faults.py)."""
        self._call("POST", "/faults", {"rules": rules, "seeded": seeded, "silence": silence})

    def reset(self) -> None:
        """Counters at zero."""
        self._call("POST", "/reset", {})

    def counts(self) -> dict[str, int]:
        """Requests by kind since `reset`."""
        return dict(self._call("GET", "")["counts"])

    def faults_done(self) -> dict[str, int]:
        return dict(self._call("GET", "")["faults"])

    def ranges(self, database: str, container: str) -> list[dict[str, Any]]:
        """Physical partitions: id, low, high, items, lsn."""
        return list(self._call("GET", "")["containers"][f"{database}/{container}"]["ranges"])

    def _call(self, method: str, path: str, given: Any = None) -> Any:
        request = urllib.request.Request(
            f"{self._root}/_control/{self._account or 'main'}{path}",
            data=None if given is None else json.dumps(given).encode(),
            method=method,
        )
        with urllib.request.urlopen(request, timeout=60, context=_trusted(self._ca_file)) as answer:
            return json.loads(answer.read() or b"{}")


@cache
def _trusted(ca_file: str) -> ssl.SSLContext:
    """Reading authorities takes milliseconds, and tests make many accounts."""
    return ssl.create_default_context(cafile=ca_file)
