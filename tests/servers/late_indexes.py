"""DynamoDB whose indexes are late: index queries do not show the newest entries.

DynamoDB Local puts an entry in its indexes at once, DynamoDB itself some time later. As
there, reads of the table are strong, an entry that a write leaves as it was stays
visible, and so does one that is gone from the table: never for ever, but too long.
"""

from __future__ import annotations

import json
import threading
from collections import OrderedDict
from typing import Any

from tests.servers.faulty import Faulty

__all__ = ["LateIndexes"]

_KEYS = [f"GSI{n}{kind}" for n in (1, 2, 3, 4) for kind in ("PK", "SK")]
_Row = tuple[str, str, str]
"""Table, partition key and sort key."""


class LateIndexes:
    """Before the server at `upstream`; `newest`: how many entries are not shown yet. It
    sees what is written through it alone."""

    def __init__(self, upstream: str, *, newest: int) -> None:
        self.newest = newest
        self._proxy = Faulty(upstream, edit=self._edit)
        self._lock = threading.Lock()
        self._entries: OrderedDict[_Row, list[Any]] = OrderedDict()

    @property
    def url(self) -> str:
        return self._proxy.url

    def start(self) -> LateIndexes:
        self._proxy.start()
        return self

    def __enter__(self) -> LateIndexes:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self._proxy.stop()

    def _edit(self, operation: str, asked: bytes, answered: bytes) -> bytes:
        if operation == "TransactWriteItems":
            for action in json.loads(asked)["TransactItems"]:
                self._written(action["Put"])
        if operation == "Query" and "IndexName" in (query := json.loads(asked)):
            return self._shown(query["TableName"], json.loads(answered))
        return answered

    def _written(self, put: dict[str, Any]) -> None:
        item = put["Item"]
        entries = [item.get(name) for name in _KEYS]
        row = (put["TableName"], item["PK"]["S"], item["SK"]["S"])
        with self._lock:
            if any(entries) and self._entries.get(row) != entries:
                self._entries[row] = entries
                self._entries.move_to_end(row)

    def _shown(self, table: str, answer: dict[str, Any]) -> bytes:
        with self._lock:
            rows = list(self._entries)
        late = set(rows[max(0, len(rows) - self.newest) :])
        items = answer["Items"]
        answer["Items"] = [
            each for each in items if (table, each["PK"]["S"], each["SK"]["S"]) not in late
        ]
        answer["Count"] = len(answer["Items"])
        return json.dumps(answer).encode()
