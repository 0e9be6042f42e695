"""Who holds how much: usage of homes and projects, kept exactly.

Counted is what lies under a home's prefix. One partition per home,
`USAGE#{home_id}`, holds the sums and what they are the sums of, so that each
step is one conditional commit and may be repeated:

- `TOTAL`, `PROJECT#{project_id}`: documents and bytes, used and reserved;
- `RESERVED#{upload_id}`: what an upload that has not ended may bring;
- `FILE#{digest}`: a file that is there, by its key without the home;
- `DOCUMENT#{document_id}`: how many raw files a document has.

A reservation checks the quota against the very `TOTAL` that it replaces: of
many at once exactly as many succeed as there is room for.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import random
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any
from weakref import WeakValueDictionary

from services.model.errors import Reason, WorkspaceError
from services.model.paths import StorageKey, homeless, parse_storage_key
from services.records.port import ABSENT, ConditionFailed, Index, Item, Key, Match, Put
from services.records.store import RecordStore
from storage_svc.open_uploads import OpenUploads

__all__ = ["Counters", "Ledger", "Quota", "usage_pk"]

_ATTEMPTS = 40
_LONGEST_PAUSE = 0.05
_GONE_SECONDS = 3600
_AT_ONCE = 16
"""Changes in one commit; each has at most five rows, of which they share one."""


@dataclass(frozen=True, slots=True)
class Counters:
    """Documents that have a file, bytes, and what of both is reserved."""

    documents: int = 0
    bytes: int = 0
    reserved_documents: int = 0
    reserved_bytes: int = 0

    def plus(self, other: Counters) -> Counters:
        """The sum, field by field."""
        mine, theirs = asdict(self), asdict(other)
        return Counters(**{name: mine[name] + theirs[name] for name in mine})


@dataclass(frozen=True, slots=True)
class Quota:
    """Limits of a home; 0: none."""

    bytes: int = 0
    documents: int = 0


@dataclass(slots=True)
class _Rows:
    """Rows of one home as read, and how they are to be."""

    pk: str
    items: dict[str, Item | None] = field(default_factory=dict)
    values: dict[str, Mapping[str, Any] | None] = field(default_factory=dict)

    def value(self, sk: str) -> Mapping[str, Any] | None:
        """The live row, with what was set since."""
        if sk in self.values:
            return self.values[sk]
        item = self.items[sk]
        return json.loads(item.body) if item is not None and not item.deleted else None

    def add(self, project_id: str, change: Counters) -> None:
        """Change both sums."""
        for sk in ("TOTAL", f"PROJECT#{project_id}"):
            now = Counters(**(self.value(sk) or {})).plus(change)
            self.values[sk] = asdict(now)

    def puts(self, now: float) -> list[Put]:
        return [self._put(sk, value, now) for sk, value in self.values.items()]

    def _put(self, sk: str, value: Mapping[str, Any] | None, now: float) -> Put:
        item = self.items[sk]
        family = "usage" if sk == "TOTAL" or sk.startswith("PROJECT#") else "usage_charge"
        return Put(
            Key(self.pk, sk),
            ABSENT if item is None else Match(item.token),
            family,
            json.dumps(value or {}, sort_keys=True),
            deleted=value is None,
            expires_at=int(now) + _GONE_SECONDS if value is None else None,
        )


_Change = Callable[[_Rows], None]


@dataclass(slots=True, eq=False)
class _Asked:
    """A change of a home that waits for its turn, and the rows it looks at."""

    sks: tuple[str, ...]
    change: _Change
    done: asyncio.Future[None]
    refused: WorkspaceError | None = None

    def apply(self, rows: _Rows) -> None:
        """A change that is refused has changed nothing."""
        try:
            self.change(rows)
        except WorkspaceError as error:
            self.refused = error
        else:
            self.refused = None

    def settle(self) -> None:
        if self.done.done():
            return  # who asked is gone
        if self.refused is None:
            self.done.set_result(None)
        else:
            self.done.set_exception(self.refused)
            self.done.exception()  # read, should who asked be gone by now


class _Home:
    """Changes of one home in this process: who comes first makes those of all who
    wait meanwhile with his own, in one commit."""

    def __init__(self) -> None:
        self.turn = asyncio.Lock()
        self.waiting: list[_Asked] = []


def usage_pk(home_id: str) -> str:
    """Partition of a home's usage."""
    return f"USAGE#{home_id}"


class Ledger:
    """See the module. `now` is unix seconds."""

    def __init__(self, records: RecordStore, *, now: Callable[[], float]) -> None:
        self._records = records
        self._now = now
        self._homes: WeakValueDictionary[str, _Home] = WeakValueDictionary()
        self.open = OpenUploads(records)

    async def reserve(self, key: str, upload_id: str, size: int, quota: Quota) -> None:
        """Set aside what an upload to `key` may bring. Repeating it changes
        nothing. Raises QUOTA_EXCEEDED with what remains."""
        parts, sk = parse_storage_key(key), f"RESERVED#{upload_id}"

        def change(rows: _Rows) -> None:
            if rows.value(sk) is not None:
                return
            first = not parts.artifact_id and _files(rows, parts) == 0
            total = Counters(**(rows.value("TOTAL") or {}))
            _require_room(total, size, int(first), quota)
            rows.values[sk] = {
                "project": parts.project_id, "bytes": size, "documents": int(first),
            }
            rows.add(
                parts.project_id, Counters(reserved_bytes=size, reserved_documents=int(first))
            )

        await self._change(parts, change, sk)

    async def settle(self, key: str, upload_id: str, size: int) -> None:
        """The upload's file is there: used instead of reserved."""
        parts, sk = parse_storage_key(key), f"RESERVED#{upload_id}"

        def change(rows: _Rows) -> None:
            _release(rows, sk)
            _place(rows, parts, key, size)

        await self._change(parts, change, sk, _file_sk(key))

    async def release(self, key: str, upload_id: str) -> None:
        """The upload ended without a file."""
        await self.release_of(parse_storage_key(key).home.id, upload_id)

    async def release_of(self, home_id: str, upload_id: str) -> None:
        """The same where no upload was ever stored."""
        sk = f"RESERVED#{upload_id}"
        item = await self._records.get_row(Key(usage_pk(home_id), sk))
        if item is None or item.deleted:
            return
        project_id = json.loads(item.body)["project"]
        await self._commit(
            home_id, ("TOTAL", f"PROJECT#{project_id}", sk), lambda rows: _release(rows, sk)
        )

    async def place(self, key: str, size: int) -> None:
        """A file lies under `key` (relocation): no quota is asked."""
        parts = parse_storage_key(key)
        await self._change(
            parts, lambda rows: _place(rows, parts, key, size), _file_sk(key)
        )

    async def remove(self, key: str) -> None:
        """The file under `key` is there no longer (purge, relocation)."""
        parts, sk = parse_storage_key(key), _file_sk(key)
        await self._change(parts, lambda rows: _remove(rows, parts, sk), sk)

    async def counts(self, key: str) -> bool:
        """Whether the file under `key` is counted."""
        parts = parse_storage_key(key)
        item = await self._records.get_row(Key(usage_pk(parts.home.id), _file_sk(key)))
        return item is not None and not item.deleted

    async def total(self, home_id: str) -> Counters:
        """The whole home."""
        item = await self._records.get_row(Key(usage_pk(home_id), "TOTAL"))
        return Counters(**json.loads(item.body)) if item is not None else Counters()

    async def project(self, home_id: str, project_id: str) -> Counters | None:
        """One project of the home; None if it never had anything there."""
        item = await self._records.get_row(Key(usage_pk(home_id), f"PROJECT#{project_id}"))
        return Counters(**json.loads(item.body)) if item is not None else None

    async def projects(
        self, home_id: str, *, limit: int, after: str | None
    ) -> tuple[list[tuple[str, Counters]], str | None]:
        """Projects of the home by id, and where to go on."""
        page = await self._records.run(
            Index.BASE, usage_pk(home_id), lower="PROJECT#", upper="PROJECT$",
            limit=limit, after=after,
        )
        found = [
            (item.key.sk.removeprefix("PROJECT#"), Counters(**json.loads(item.body)))
            for item in page.items
        ]
        return found, page.next

    async def _change(self, parts: StorageKey, change: _Change, *sks: str) -> None:
        shared = ("TOTAL", f"PROJECT#{parts.project_id}", _document_sk(parts))
        await self._commit(parts.home.id, (*shared, *sks), change)

    async def _commit(self, home_id: str, sks: tuple[str, ...], change: _Change) -> None:
        """Make the change, alone or together with others that wait."""
        pk = usage_pk(home_id)
        home = self._homes.setdefault(pk, _Home())
        asked = _Asked(sks, change, asyncio.get_running_loop().create_future())
        home.waiting.append(asked)
        try:
            async with home.turn:
                if not asked.done.done():
                    await self._together(pk, home, asked)
            asked.done.result()
        finally:
            if asked in home.waiting:
                home.waiting.remove(asked)

    async def _together(self, pk: str, home: _Home, asked: _Asked) -> None:
        """Changes may be repeated: those that a cancelled call leaves waiting are
        made again by the next."""
        others = [each for each in home.waiting if each is not asked]
        asking = [asked, *others[: _AT_ONCE - 1]]
        await self._write(pk, asking)
        for each in asking:
            each.settle()
        home.waiting = [each for each in home.waiting if each not in asking]

    async def _write(self, pk: str, asking: list[_Asked]) -> None:
        """Read, decide, write; decide again when somebody else was quicker."""
        sks = dict.fromkeys(sk for each in asking for sk in each.sks)
        for number in range(_ATTEMPTS):
            rows = _Rows(pk, {sk: await self._records.get_row(Key(pk, sk)) for sk in sks})
            for each in asking:
                each.apply(rows)
            if not rows.values:
                return
            try:
                await self._records.put_rows(rows.puts(self._now()))
            except ConditionFailed:
                pause = min(_LONGEST_PAUSE, 0.001 * 2**number)
                await asyncio.sleep(random.uniform(0, pause))  # noqa: S311 - spreads retries
            else:
                return
        raise WorkspaceError(
            Reason.ERROR_REASON_CONFLICTING_WRITE,
            "the usage of the home is changing faster than it can be read; repeat the call",
            retry_after=0.1,
        )


def _require_room(total: Counters, size: int, documents: int, quota: Quota) -> None:
    for name, maximum, taken, wanted in (
        ("bytes", quota.bytes, total.bytes + total.reserved_bytes, size),
        ("documents", quota.documents, total.documents + total.reserved_documents, documents),
    ):
        if maximum and wanted and taken + wanted > maximum:
            remaining = max(0, maximum - taken)
            raise WorkspaceError(
                Reason.ERROR_REASON_QUOTA_EXCEEDED,
                f"the file needs {wanted} more {name}, {remaining} of {maximum} are left; purge "
                "what is not needed or ask a platform admin for a larger quota",
                metadata={
                    "quota": name, "maximum": str(maximum), "remaining": str(remaining),
                },
            )


def _release(rows: _Rows, sk: str) -> None:
    held = rows.value(sk)
    if held is not None:
        rows.values[sk] = None
        rows.add(
            held["project"],
            Counters(reserved_bytes=-held["bytes"], reserved_documents=-held["documents"]),
        )


def _place(rows: _Rows, parts: StorageKey, key: str, size: int) -> None:
    sk = _file_sk(key)
    if rows.value(sk) is not None:
        return
    rows.values[sk] = {"project": parts.project_id, "bytes": size, "key": homeless(key)}
    files = _files(rows, parts)
    if not parts.artifact_id:
        rows.values[_document_sk(parts)] = {"files": files + 1}
    first = not parts.artifact_id and files == 0
    rows.add(parts.project_id, Counters(documents=int(first), bytes=size))


def _remove(rows: _Rows, parts: StorageKey, sk: str) -> None:
    there = rows.value(sk)
    if there is None:
        return
    rows.values[sk] = None
    files = _files(rows, parts)
    if not parts.artifact_id:
        rows.values[_document_sk(parts)] = {"files": files - 1} if files > 1 else None
    last = not parts.artifact_id and files == 1
    rows.add(parts.project_id, Counters(documents=-int(last), bytes=-there["bytes"]))


def _files(rows: _Rows, parts: StorageKey) -> int:
    row = rows.value(_document_sk(parts))
    return int(row["files"]) if row is not None else 0


def _document_sk(parts: StorageKey) -> str:
    return f"DOCUMENT#{parts.document_id}"


def _file_sk(key: str) -> str:
    return f"FILE#{hashlib.sha256(homeless(key).encode()).hexdigest()[:32]}"
