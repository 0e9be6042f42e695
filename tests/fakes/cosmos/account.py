"""Accounts: settings, databases, a clock of their own."""

from __future__ import annotations

import itertools
import time
from dataclasses import dataclass, field
from typing import Any

from tests.fakes.cosmos.access import Access
from tests.fakes.cosmos.containers import (
    Container,
    Database,
    check_name,
    new_rid,
    owner_missing,
)
from tests.fakes.cosmos.errors import Refused, bad_request, not_found
from tests.fakes.cosmos.faults import Faults

__all__ = ["CONSISTENCY", "Account"]

CONSISTENCY = ("Eventual", "ConsistentPrefix", "Session", "BoundedStaleness", "Strong")
"""From the weakest to the strongest."""


@dataclass
class Account:
    """`locations` are the names of its regions, the first is written; all when
    `multi_write`. `offset` moves its clock. `partitions` is how many physical ones a new
    container has."""

    name: str
    consistency: str = "Strong"
    multi_write: bool = False
    locations: list[str] = field(default_factory=lambda: ["North Europe"])
    partitions: int = 2
    continuous_backup: bool = False
    offset: float = 0.0
    access: Access = field(default_factory=Access)
    faults: Faults = field(default_factory=Faults)
    databases: dict[str, Database] = field(default_factory=dict)
    _etags: itertools.count[int] = field(default_factory=lambda: itertools.count(1))

    def clock(self) -> float:
        return time.time() + self.offset

    def etag(self) -> str:
        """Never the same twice."""
        return f'"{next(self._etags):08x}-0000-0700-0000-{int(self.clock()):08x}0000"'

    def configure(self, wanted: dict[str, Any]) -> None:
        """Settings by name, those of `Access` too. Raises 400."""
        for name, value in wanted.items():
            if name in (
                "consistency", "multi_write", "locations", "partitions", "continuous_backup"
            ):
                setattr(self, name, value)
            elif name in ("tenant", "default_role", "roles", "management"):
                setattr(self.access, name, value)
            else:
                raise bad_request(f"no such setting: {name}")
        if self.consistency not in CONSISTENCY:
            raise bad_request(f"no such consistency: {self.consistency}")

    def document(self, host: str, scheme: str) -> dict[str, Any]:
        """The account as `GET /` returns it; each location has an URL of its own."""
        prefix = f"/{self.name}/" if self.name else "/"
        port = host.rpartition(":")[2]
        hosts = [host, *(f"localhost:{port}" for _ in self.locations[1:])]
        places = [
            {"name": name, "databaseAccountEndpoint": f"{scheme}://{at}{prefix}"}
            for name, at in zip(self.locations, hosts, strict=True)
        ]
        return {
            "_self": "", "id": self.name or "localhost", "_rid": f"{self.name or 'localhost'}.fake",
            "media": "//media/", "addresses": "//addresses/", "_dbs": "//dbs/",
            "writableLocations": places if self.multi_write else places[:1],
            "readableLocations": places,
            "enableMultipleWriteLocations": self.multi_write,
            "continuousBackupEnabled": self.continuous_backup,
            "enablePerPartitionFailoverBehavior": False,
            "userReplicationPolicy": {
                "asyncReplication": False, "minReplicaSetSize": 3, "maxReplicasetSize": 4,
            },
            "userConsistencyPolicy": {"defaultConsistencyLevel": self.consistency},
            "systemReplicationPolicy": {"minReplicaSetSize": 3, "maxReplicasetSize": 4},
            "readPolicy": {"primaryReadCoefficient": 1, "secondaryReadCoefficient": 1},
            "queryEngineConfiguration": (
                '{"maxSqlQueryInputLength":262144,"maxJoinsPerSqlQuery":5,'
                '"maxLogicalAndPerSqlQuery":500,"maxLogicalOrPerSqlQuery":500,'
                '"maxUdfRefPerSqlQuery":10,"maxInExpressionItemsCount":16000,'
                '"allowNewKeywords":true,"sqlAllowTop":true,"enableSpatialIndexing":true}'
            ),
        }  # fmt: skip

    def check_consistency(self, wanted: str) -> None:
        """Requests may ask for what is weaker, never for more. Raises 400."""
        if wanted and (
            wanted not in CONSISTENCY
            or CONSISTENCY.index(wanted) > CONSISTENCY.index(self.consistency)
        ):
            raise bad_request(
                f"ConsistencyLevel {wanted} specified in the request is invalid when service is "
                f"configured with consistency level {self.consistency}."
            )

    def database(self, name: str, *, owner: bool) -> Database:
        """Raises 404; `owner`: something inside of it is asked for."""
        if (found := self.databases.get(name)) is None:
            raise owner_missing(name) if owner else not_found(name)
        return found

    def container(self, database: str, name: str, *, owner: bool) -> Container:
        found = self.database(database, owner=True).containers.get(name)
        if found is None:
            raise owner_missing(name) if owner else not_found(name)
        return found

    def new_database(self, name: object) -> Database:
        if (text := check_name(name)) in self.databases:
            raise Refused(409, "Database with the specified id already exists.")
        found = Database(text, new_rid(), int(self.clock()), self.etag())
        self.databases[text] = found
        return found

    def new_container(
        self, database: Database, definition: dict[str, Any], partitions: int = 0
    ) -> Container:
        if definition.get("id") in database.containers:
            raise Refused(409, "Container with the specified id already exists.")
        found = Container(
            database, definition, partitions=partitions or self.partitions,
            clock=self.clock, etags=self.etag,
        )  # fmt: skip
        database.containers[found.name] = found
        return found
