"""An import from beginning to end: walk, compare, send in parallel, sum up."""

from __future__ import annotations

import asyncio
import os
import unicodedata
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

from services.cli.client import Session
from services.cli.describing import describe
from services.cli.importing.plan import Action, Place, decide, place_of
from services.cli.importing.progress import Progress
from services.cli.importing.put import http_client
from services.cli.importing.retry import Unavailable
from services.cli.importing.source import open_source
from services.cli.importing.state import Known, load_known
from services.cli.importing.transfer import Outcome, Uploader
from services.cli.importing.walk import Entry, Kind, load_ignore, walk
from services.model.errors import WorkspaceError

__all__ = ["Import", "Item", "Summary", "Tree", "read_tree"]

_HASHERS = 2


@dataclass(frozen=True, slots=True)
class Item:
    """A file to bring, and where to."""

    entry: Entry
    place: Place


@dataclass(slots=True)
class Tree:
    """A folder as it will be imported. `refused` and `skipped` are (path, reason)."""

    items: list[Item] = field(default_factory=list)
    refused: list[tuple[str, str]] = field(default_factory=list)
    skipped: list[tuple[str, str]] = field(default_factory=list)
    ignored: int = 0
    renamed: list[str] = field(default_factory=list)

    @property
    def size(self) -> int:
        return sum(item.entry.size for item in self.items)


@dataclass(slots=True)
class Summary:
    """What an import did. `failed` and `skipped` are (path, reason)."""

    imported: int = 0
    revised: int = 0
    unchanged: int = 0
    ignored: int = 0
    failed: list[tuple[str, str]] = field(default_factory=list)
    skipped: list[tuple[str, str]] = field(default_factory=list)
    renamed: list[str] = field(default_factory=list)
    not_tried: int = 0
    bytes_sent: int = 0
    seconds: float = 0.0
    unavailable: bool = False


def read_tree(
    root: Path, *, into: str = "", ignore_file: str = "", exclude: Sequence[str] = ()
) -> Tree:
    """Walk `root` and place its files. No server is asked."""
    tree = Tree()
    taken: dict[tuple[str, str], str] = {}
    entries = list(walk(root, load_ignore(root, ignore_file, exclude)))
    # Of two names that are one in NFC the one that is written so has the place.
    for entry in sorted(entries, key=lambda e: not unicodedata.is_normalized("NFC", e.relative)):
        if entry.kind is Kind.FILE:
            _place(tree, entry, into, taken)
        elif entry.kind is Kind.IGNORED:
            tree.ignored += 1
        elif entry.kind is Kind.UNREADABLE:
            tree.refused.append((entry.relative, entry.kind.value))
        else:
            tree.skipped.append((entry.relative, entry.kind.value))
    tree.items.sort(key=lambda item: os.fsencode(item.entry.relative))
    return tree


def _place(tree: Tree, entry: Entry, into: str, taken: dict[tuple[str, str], str]) -> None:
    try:
        place = place_of(entry.relative, into)
    except WorkspaceError as error:
        tree.refused.append((entry.relative, error.message))
        return
    other = taken.setdefault((place.folder, place.name), entry.relative)
    if other != entry.relative:
        tree.refused.append((entry.relative, "is the same name as another file in Unicode NFC"))
        return
    if place.renamed:
        tree.renamed.append(entry.relative)
    tree.items.append(Item(entry, place))


class Import:
    """Brings a tree into a project with `workers` files under way at a time."""

    def __init__(
        self,
        session: Session,
        project_id: str,
        *,
        into: str = "",
        workers: int = 8,
        patience: float = 30.0,
        shown: bool = True,
    ) -> None:
        self._session = session
        self._project_id = project_id
        self._into = into
        self._workers = workers
        self._patience = patience
        self._shown = shown
        self.summary: Summary | None = None
        """What was done until now, also when the run is cancelled; None before the first file."""

    async def plan(self, tree: Tree) -> dict[Action, int]:
        """How many files need what; nothing is changed."""
        known = await load_known(self._session, self._project_id, self._into)
        counts = dict.fromkeys(Action, 0)
        for item in tree.items:
            counts[decide(_known(known, item), item.entry.size)] += 1
        return counts

    async def run(self, tree: Tree) -> Summary:
        """Bring the files. Failures are in the summary, not raised."""
        known = await load_known(self._session, self._project_id, self._into)
        summary = Summary(
            ignored=tree.ignored,
            failed=list(tree.refused),
            skipped=list(tree.skipped),
            renamed=list(tree.renamed),
        )
        self.summary = summary
        waiting = iter(tree.items)
        with (
            ThreadPoolExecutor(_HASHERS, "hash") as hashers,
            Progress(
                "Importing", files=len(tree.items), size=tree.size, shown=self._shown
            ) as progress,
        ):
            try:
                async with http_client(self._workers * 2, self._session.reached) as http:
                    uploader = Uploader(
                        self._session, http, self._project_id, patience=self._patience
                    )

                    async def work() -> None:
                        for item in waiting:
                            await self._one(item, known, uploader, hashers, summary, progress)
                            if summary.unavailable:
                                return

                    async with asyncio.TaskGroup() as group:
                        for _ in range(self._workers):
                            group.create_task(work())
            finally:
                done = summary.imported + summary.revised + summary.unchanged
                refused = len(summary.failed) - len(tree.refused)
                summary.not_tried = len(tree.items) - done - refused
                summary.bytes_sent, summary.seconds = progress.sent, progress.seconds
        return summary

    async def _one(
        self,
        item: Item,
        known: dict[tuple[str, str], Known],
        uploader: Uploader,
        hashers: ThreadPoolExecutor,
        summary: Summary,
        progress: Progress,
    ) -> None:
        try:
            source = await open_source(item.entry.path, hashers)
            outcome = await uploader.send(item.place, source, _known(known, item))
        except Unavailable:
            summary.unavailable = True
            return
        except Exception as error:
            failure = describe(error)
            reason = f" ({failure.reason})" if failure.reason else ""
            summary.failed.append((item.entry.relative, failure.message + reason))
            progress.done(item.entry.size)
            return
        _count(summary, outcome)
        progress.done(source.size, sent=outcome is not Outcome.UNCHANGED)


def _known(known: dict[tuple[str, str], Known], item: Item) -> Known | None:
    return known.get((item.place.folder, item.place.name))


def _count(summary: Summary, outcome: Outcome) -> None:
    if outcome is Outcome.IMPORTED:
        summary.imported += 1
    elif outcome is Outcome.REVISED:
        summary.revised += 1
    else:
        summary.unchanged += 1
