"""Check of the usage counters: they are the sums of what they count."""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from services.cli.doctor.finding import Finding
from services.records.port import Item, RecordDriver
from services.records.walking import rows_of_prefix

__all__ = ["UsageRecount", "recount"]

_PAGE = 1000
_PREFIX = "USAGE#"


@dataclass(slots=True)
class UsageRecount:
    """Rows of every home, summed up by (home, project or '' for all of it)."""

    stored: dict[tuple[str, str], Counter[str]] = field(default_factory=dict)
    summed: dict[tuple[str, str], Counter[str]] = field(
        default_factory=lambda: defaultdict(Counter)
    )
    raw_files: dict[tuple[str, str], int] = field(default_factory=lambda: defaultdict(int))
    files: dict[tuple[str, str], int] = field(default_factory=dict)
    documents: set[tuple[str, str]] = field(default_factory=set)

    def add(self, item: Item) -> None:
        """Take one row in."""
        if item.deleted or not item.key.pk.startswith(_PREFIX):
            return
        home, row = item.key.pk.removeprefix(_PREFIX), json.loads(item.body)
        kind, _, name = item.key.sk.partition("#")
        if kind in ("TOTAL", "PROJECT"):
            self.stored[home, name] = Counter(row)
        elif kind == "RESERVED":
            parts = {"reserved_bytes": row["bytes"], "reserved_documents": row["documents"]}
            self._sum(home, row["project"], parts)
        elif kind == "FILE":
            self._sum(home, row["project"], {"bytes": row["bytes"]})
            self._file(home, row)
        elif kind == "DOCUMENT":
            self.raw_files[home, name] -= row["files"]

    def _sum(self, home: str, project: str, parts: dict[str, int]) -> None:
        for of in ("", project):
            self.summed[home, of].update(parts)

    def _file(self, home: str, row: dict[str, Any]) -> None:
        document, folder = row["key"].split("/")[3:5]
        self.files[home, row["key"]] = row["bytes"]
        if folder == "raw":
            if (home, document) not in self.documents:
                self.documents.add((home, document))
                self._sum(home, row["project"], {"documents": 1})
            self.raw_files[home, document] += 1

    def faults(self) -> Iterator[str]:
        """Every counter that is not the sum of its parts."""
        for where in sorted(self.stored.keys() | self.summed.keys()):
            stored, summed = self.stored.get(where, Counter()), self.summed[where]
            for name in sorted(stored.keys() | summed.keys()):
                if stored[name] != summed[name]:
                    of = f"project {where[1]} in " if where[1] else ""
                    yield f"{of}home {where[0]}: {name} is {stored[name]}, not {summed[name]}"
        for (home, document), difference in sorted(self.raw_files.items()):
            if difference:
                yield f"home {home}: files of document {document} are miscounted"

    def finding(self) -> Finding:
        """Counters against their parts."""
        return Finding.of_faults(
            "usage", list(self.faults()),
            good=f"{len(self.stored)} counters are the sums of {len(self.files)} files",
            bad="usage counters are not the sums of their parts",
            remedy="restore a backup, or report it with this output",
        )


async def recount(driver: RecordDriver) -> UsageRecount:
    """One pass over the usage rows of every home."""
    found = UsageRecount()
    async for item in rows_of_prefix(driver, _PREFIX, page=_PAGE):
        found.add(item)
    return found
