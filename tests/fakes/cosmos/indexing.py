"""Indexing policies (Microsoft Learn, "Indexing policies in Azure Cosmos DB"): which paths
have a range index, and which composite indexes there are."""

from __future__ import annotations

import re
from typing import Any

from tests.fakes.cosmos.errors import bad_request

__all__ = ["DEFAULT_POLICY", "IndexingPolicy", "Path"]

Path = tuple[str, ...]
DEFAULT_POLICY: dict[str, Any] = {
    "indexingMode": "consistent", "automatic": True,
    "includedPaths": [{"path": "/*"}], "excludedPaths": [{"path": '/"_etag"/?'}],
}  # fmt: skip
_STEP = re.compile(r'/(?:"((?:[^"\\]|\\.)*)"|([^/"]+))')


class IndexingPolicy:
    """`explicit`: the scalar paths that are included one by one; the fake keeps sorted
    lists for these. What is indexed by a wildcard is sorted when asked for."""

    def __init__(self, policy: dict[str, Any] | None) -> None:
        self.text = {**DEFAULT_POLICY, **(policy or {})}
        self.mode = str(self.text["indexingMode"]).lower()
        if self.mode not in ("consistent", "none", "lazy"):
            raise bad_request(f"The indexing mode '{self.mode}' is invalid")
        included = [_parsed(each["path"]) for each in self.text.get("includedPaths", [])]
        excluded = [_parsed(each["path"]) for each in self.text.get("excludedPaths", [])]
        if self.mode != "none" and ((), True) not in [*included, *excluded]:
            raise bad_request(
                "The special mandatory indexing path \"/\" is not provided in any of the path "
                "type sets. Please provide this path in one of the sets."
            )
        self._rules = [(path, deep, True) for path, deep in included]
        self._rules += [(path, deep, False) for path, deep in excluded]
        self.explicit: list[Path] = [path for path, deep in included if not deep]
        self._composite = [
            tuple((_parsed(part["path"])[0], part.get("order", "ascending")) for part in index)
            for index in self.text.get("compositeIndexes", [])
        ]

    def indexed(self, path: Path) -> bool:
        """Whether the values at this path have a range index."""
        if self.mode == "none":
            return False
        if path in (("id",), ("_ts",)):
            return True
        best, found = (-1, False), False
        for rule, deep, included in self._rules:
            fits = path[: len(rule)] == rule if deep else path == rule
            if fits and (rank := (len(rule), not deep)) > best:
                best, found = rank, included
        return found

    def composite(self, wanted: list[tuple[Path, str]]) -> bool:
        """Whether one composite index serves the order, forwards or backwards."""
        turned = {"ascending": "descending", "descending": "ascending"}
        backwards = tuple((path, turned[order]) for path, order in wanted)
        return tuple(wanted) in self._composite or backwards in self._composite


def _parsed(text: str) -> tuple[Path, bool]:
    """The steps, and whether everything below is meant (`/*`)."""
    if text.endswith("/*"):
        stem, deep = text[:-2], True
    elif text.endswith("/?"):
        stem, deep = text[:-2], False
    else:
        stem, deep = text.rstrip("/"), False
    steps, end = [], 0
    for match in _STEP.finditer(stem):
        steps.append(match[1] if match[1] is not None else match[2])
        end = match.end()
    if end != len(stem):
        raise bad_request(f"The indexing path '{text}' could not be accepted")
    return tuple(steps), deep
