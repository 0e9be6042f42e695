"""Contacts with a surface: the handshake that goes before each export, and how far
this node has read.

    pending token written here -> entry changed there (compare-and-swap) -> confirmed

Killed anywhere between, the surface has one of the two tokens, and the next run goes
on. Whoever changed the row meanwhile (a copy of us, an eviction) is looked at again.
"""

from __future__ import annotations

import secrets
from dataclasses import dataclass, replace
from importlib.metadata import PackageNotFoundError, version
from platform import node as machine_name

from services.model.errors import Reason, WorkspaceError
from services.records.instance import FORMAT_VERSION, Instance, raise_floor
from services.records.port import ConditionFailed, Item
from sync_svc.engine.task import Task
from sync_svc.nodes.clock_offset import clock_offset_ms
from sync_svc.nodes.handshake import Handshake, Verdict, store_handshake
from sync_svc.nodes.mirror import mirror
from sync_svc.nodes.rows import Entry, NodeRow, node_key, node_put

__all__ = ["ACKNOWLEDGE_MS", "Contact", "acknowledge", "announce_export", "renew"]

ACKNOWLEDGE_MS = 3_600_000
"""How often a node says how far it has read."""
LOOK_MS = 300_000
_OFFSET_MS = 1000
_TRIES = 10


@dataclass(frozen=True, slots=True)
class Contact:
    """Both sides as last read. `own` is this workspace, `node` its row in the surface,
    `memory` the local handshake row and `token` that row's version, `mark` the number
    of the surface's collection mark when the run began. `writable`: the surface takes
    what this program writes."""

    own: Instance
    surface: Instance
    node: Item | None
    memory: Handshake
    token: str | None
    mark: int
    writable: bool

    @property
    def row(self) -> NodeRow:
        """Our row, or an empty one."""
        return NodeRow.of(self.node) if self.node else NodeRow(self.own.instance_id)

    @property
    def entry(self) -> Entry | None:
        """That of our incarnation."""
        return self.row.entries.get(self.own.incarnation)


async def announce_export(task: Task, contact: Contact) -> Contact:
    """The handshake: call it before the first write of records to the surface, once a
    run. One request. Raises CONFLICTING_WRITE when another life of this workspace
    spoke with the surface since the preflight: the next run finds out."""
    reading = task.local.records.reading()
    await raise_floor(task.local.records.driver, reading)
    memory = replace(_settled(contact), pending=secrets.token_hex(12), pending_hlc=reading)
    contact = await _remember(task, contact, memory)
    contact = await _introduce(task, contact, memory)
    entry = contact.entry
    assert entry is not None, "it was just written"
    done = replace(
        memory, confirmed=memory.pending, hlc=reading, contacts=entry.contacts, pending="",
        pending_hlc="",
    )
    contact = await _remember(task, contact, done)
    return await _looked_around(task, contact)


async def acknowledge(
    task: Task, contact: Contact, *, cursor: str, complete: bool = True, reconciled: bool = False
) -> Contact:
    """Say in the surface that everything up to `cursor` of its feed was taken: call it
    at the end of each pull that advanced its cursor. Written at most every hour, but at
    once when it is the first time, or when an eviction ends: `reconciled` says that the
    run was a full reconcile, and of the connection's whole scope (`complete`)."""
    if not contact.writable or not complete or task.options.project_ids:
        return contact
    entry, now = contact.entry, task.now_ms()
    if entry is None or entry.evicted or _is_due(entry, contact, now):
        contact = await _acknowledged(task, contact, cursor, reconciled=reconciled)
    return await _looked_around(task, contact)


async def renew(
    task: Task, contact: Contact, verdict: Verdict, entry: Entry | None
) -> Contact:
    """Remember the surface as it is now, and make up a broken handshake, so that the
    alarm is raised once. `entry` is that of our incarnation, as read."""
    own, surface, memory = contact.own, contact.surface, contact.memory
    memory = replace(
        memory,
        surface_incarnation=surface.incarnation,
        provider_identity=surface.provider_identity,
        generation=surface.generation,
        epoch=memory.epoch + verdict.starts_over,
    )
    if verdict.fresh or verdict.ours:
        memory = replace(memory, confirmed="", hlc="", contacts=0, pending="", pending_hlc="")
    if verdict.theirs and not contact.writable and entry is not None:
        memory = replace(memory, confirmed=entry.token, contacts=entry.contacts)
    handshakes = verdict.theirs and contact.writable
    if handshakes:  # the memory of the alarm goes only when the new token is there
        return await _made_up(task, contact, memory)
    return await _remember(task, contact, replace(memory, incarnation=own.incarnation))


async def _made_up(task: Task, contact: Contact, memory: Handshake) -> Contact:
    reading = task.local.records.reading()
    await raise_floor(task.local.records.driver, reading)
    token = replace(memory, pending=secrets.token_hex(12), pending_hlc=reading)
    contact = await _introduce(task, contact, token, force=True)
    entry = contact.entry
    assert entry is not None, "it was just written"
    done = replace(
        memory, incarnation=contact.own.incarnation, confirmed=entry.token, hlc=reading,
        contacts=entry.contacts, pending="", pending_hlc="",
    )
    return await _remember(task, contact, done)


def _settled(contact: Contact) -> Handshake:
    """A contact that was cut off after the surface had its token did happen."""
    memory, entry = contact.memory, contact.entry
    if entry is None or not memory.pending or entry.token != memory.pending:
        return memory
    return replace(
        memory, confirmed=memory.pending, hlc=memory.pending_hlc, contacts=entry.contacts
    )


async def _remember(task: Task, contact: Contact, memory: Handshake) -> Contact:
    if memory == contact.memory and contact.token:
        return contact
    try:
        token = await store_handshake(
            task.local.records, contact.surface.instance_id, memory, contact.token
        )
    except ConditionFailed:
        raise _again("another run spoke with the same surface meanwhile") from None
    return replace(contact, memory=memory, token=token)


async def _introduce(
    task: Task, contact: Contact, memory: Handshake, *, force: bool = False
) -> Contact:
    """Put the pending token into our entry."""
    known = {memory.confirmed, memory.pending} - {""}
    for _ in range(_TRIES):
        entry = contact.entry or Entry(first_ms=task.now_ms())
        if entry.token and entry.token not in known and not force:
            raise _again("another copy of this workspace spoke with the surface meanwhile")
        entry = replace(
            entry, token=memory.pending, seen_ms=task.now_ms(), hlc=memory.pending_hlc,
            contacts=max(entry.contacts, memory.contacts) + 1,
        )
        written = await _write(task, contact, entry)
        if written is not None:
            return written
        contact = await _read(task, contact)
    raise _again("the surface's node rows change too fast")


async def _acknowledged(
    task: Task, contact: Contact, cursor: str, *, reconciled: bool
) -> Contact:
    for _ in range(_TRIES):
        now = task.now_ms()
        entry = contact.entry or Entry(first_ms=now)
        if entry.evicted and not reconciled:
            return contact
        entry = replace(
            entry, seen_ms=now, acknowledged_ms=now, mark=max(contact.mark, entry.mark),
            cursor=cursor, evicted=False,
        )
        written = await _write(task, contact, entry)
        if written is not None:
            return written
        contact = await _read(task, contact)
    return contact  # it is said the next time


def _is_due(entry: Entry, contact: Contact, now_ms: int) -> bool:
    return now_ms - entry.acknowledged_ms >= ACKNOWLEDGE_MS or entry.mark < contact.mark


async def _write(task: Task, contact: Contact, entry: Entry) -> Contact | None:
    """Write our entry; None when the row changed since it was read."""
    own = contact.own
    row = replace(
        contact.row.with_entry(own.incarnation, entry),
        name=machine_name()[:200],
        generation=own.generation,
        software_version=_software(),
        format=FORMAT_VERSION,
    )
    put = node_put(node_key(own.instance_id), row, contact.node)
    try:
        token = await task.remote.records.put_row(put)
    except ConditionFailed:
        return None
    item = Item(put.key, token, put.family, put.body, indexes=put.indexes)
    return replace(contact, node=item)


async def _read(task: Task, contact: Contact) -> Contact:
    key = node_key(contact.own.instance_id)
    return replace(contact, node=await task.remote.records.get_row(key))


async def _looked_around(task: Task, contact: Contact) -> Contact:
    """Every five minutes: the other nodes of the surface are remembered here, and
    evictions that were decided here take place there. Our entry says how our clock
    goes by the surface's, which others compare with theirs."""
    now = task.now_ms()
    if now - contact.memory.looked_ms < LOOK_MS:
        return contact
    contact = await _clocked(task, contact)
    await mirror(task)
    return await _remember(task, contact, replace(contact.memory, looked_ms=now))


async def _clocked(task: Task, contact: Contact) -> Contact:
    entry = contact.entry
    if entry is None or not contact.writable:
        return contact
    offset = await clock_offset_ms(task)
    known = entry.offset_ms
    if offset is None or (known is not None and abs(offset - known) < _OFFSET_MS):
        return contact
    written = await _write(task, contact, replace(entry, offset_ms=offset))
    return written or contact  # the row changed meanwhile: the next time


def _software() -> str:
    try:
        return version("workspace-management")[:64]
    except PackageNotFoundError:
        return ""


def _again(message: str) -> WorkspaceError:
    return WorkspaceError(
        Reason.ERROR_REASON_CONFLICTING_WRITE, f"{message}; run again", retry_after=0.1
    )
