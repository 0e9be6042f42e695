"""Before a run: is the surface the one that we know, and are we who it knows?

One read of the surface (its instance row, our node row, the collection mark). What is
found there is compared with what this node remembers (sync_svc/nodes/handshake.py):

- another surface than was registered, or an emptied one: SURFACE_CHANGED until a run
  says `reinitialise`;
- this store was restored or cloned: it gets a new incarnation, versions that may be
  of a second life are minted again (services/records/remint.py), full reconcile;
- the surface was rolled back: its instance gets a new incarnation, full reconcile,
  and what it lost is sent again;
- this node was evicted: full reconcile. The surface has stubs of what was purged,
  which still cover what this node had of it: nothing comes back, and an edit that was
  never sent is beside the tombstone as a conflict.

Each step is written down before the next one depends on it, and finds itself done
when it is repeated: the new incarnation is in the instance row with what is still to
be minted again, and the handshake is renewed, which ends the alarm, only after that.
Cursors that mean nothing any more are emptied first of all.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace

from workspace.sync.v1.run_pb2 import SyncDirection

from services.model.errors import Reason, WorkspaceError
from services.records.actors import SETTLE_SECONDS
from services.records.conflict_rows import Found
from services.records.instance import (
    FORMAT_VERSION,
    INSTANCE_KEY,
    Instance,
    check_readable,
    check_writable,
    create_instance,
    doubt,
    instance_of,
    mark_minted,
    new_incarnation,
    read_instance,
)
from services.records.port import Item
from services.records.remint import Lives, remint
from sync_svc.collection.marks import MARK_KEY, mark_of
from sync_svc.collection.relaying import note_run
from sync_svc.engine.sync_state import SyncState, SyncStates
from sync_svc.engine.task import Task
from sync_svc.engine.trust import is_content_only
from sync_svc.nodes.contact import Contact, acknowledge, announce_export, renew
from sync_svc.nodes.handshake import Handshake, Verdict, judge, load_handshake, spoke_since
from sync_svc.nodes.rows import DAY_MS, Entry, NodeRow, node_key

__all__ = [
    "Contact", "Preflight", "Sleep", "acknowledge", "announce_export", "look", "preflight",
]  # fmt: skip

Sleep = Callable[[float], Awaitable[None]]
_LEAST_LEASE_MS = DAY_MS
"""Other workspaces that collect in the surface may have any lease from a day on."""


@dataclass(frozen=True, slots=True)
class Preflight:
    """What the run goes on with. `state` is as stored now: its cursors are empty when
    they mean nothing. `contact` is for `announce_export` and `acknowledge`."""

    state: SyncState
    full_reconcile: bool
    contact: Contact


@dataclass(frozen=True, slots=True)
class _Seen:
    instance: Instance | None
    node: Item | None
    mark: int


async def preflight(task: Task, state: SyncState, *, sleep: Sleep = asyncio.sleep) -> Preflight:
    """See the module. Raises SURFACE_CHANGED, INVALID_STATE when the formats, the
    medium or the surface itself do not allow the run, and what the stores raise.
    `sleep` (seconds) waits for other processes of this workspace after it turned out
    to be restored."""
    own = await _own(task)
    if own.actor != task.local.records.actor:
        await task.local.records.become(own.actor)
    seen = await _look(task, own)
    surface = _surface(task, state, own, seen, writes=True)
    if surface is None:
        surface = await create_instance(task.remote.records.driver)
    memory, token = await load_handshake(task.local.records, surface.instance_id)
    entry = _entry(seen.node, own)
    verdict = judge(own, memory, surface, entry)
    memory = _believed(task, memory, verdict)
    epoch = memory.epoch + verdict.starts_over
    state = await _registered(task, state, surface, epoch)
    if verdict.ours:
        own = await _reborn(task, own, memory)
        entry = _entry(seen.node, own)
    own = await _doubted(task, own, memory, seen.node)
    if own.unminted:
        own = await _mint_again(task, own, sleep)
    if verdict.theirs and _may_write(task, surface):
        surface = await new_incarnation(task.remote.records.driver, surface.incarnation)
    await _relayed(task, state, seen.mark)
    contact = Contact(
        own=own, surface=surface, node=seen.node, memory=memory, token=token, mark=seen.mark,
        writable=_may_write(task, surface),
    )
    if verdict.starts_over or _news(memory, surface):
        contact = await renew(task, contact, verdict, entry)
    return Preflight(state, _reconciles(task, state, verdict, contact), contact)


async def look(task: Task, state: SyncState) -> bool:
    """Whether `preflight` would ask for a full reconcile; nothing is written. Raises
    what it raises."""
    own = await _own(task)
    seen = await _look(task, own)
    surface = _surface(task, state, own, seen, writes=False)
    if surface is None:
        return True
    memory, token = await load_handshake(task.local.records, surface.instance_id)
    verdict = judge(own, memory, surface, _entry(seen.node, own))
    known = (state.instance_id, state.epoch) == (surface.instance_id, memory.epoch)
    contact = Contact(own, surface, seen.node, memory, token, seen.mark, writable=False)
    return not known or _reconciles(task, state, verdict, contact)


def _reconciles(task: Task, state: SyncState, verdict: Verdict, contact: Contact) -> bool:
    push = task.direction == SyncDirection.SYNC_DIRECTION_PUSH
    never = not (state.push_reconciled_ms if push else state.pull_reconciled_ms)
    entry = contact.entry  # one that collection may not have waited for rejoins
    rejoins = entry is not None and entry not in contact.row.awaited(task.now_ms(), _LEAST_LEASE_MS)
    return verdict.starts_over or never or rejoins or task.options.full_reconcile


async def _own(task: Task) -> Instance:
    """This workspace, as its row says now: another process may have renewed it."""
    own = await read_instance(task.local.records.driver)
    if own is None:
        raise _invalid("this workspace has no instance record; start it once")
    if own.floor:
        task.local.records.observe(own.floor)
    return own


async def _look(task: Task, own: Instance) -> _Seen:
    """The one request."""
    keys = [INSTANCE_KEY, node_key(own.instance_id), MARK_KEY]
    rows = await task.remote.records.rows(keys)
    instance, node, mark = (each.item for each in rows)
    return _Seen(instance_of(instance) if instance else None, node, mark_of(mark).number)


def _entry(node: Item | None, own: Instance) -> Entry | None:
    return NodeRow.of(node).entries.get(own.incarnation) if node else None


def _surface(
    task: Task, state: SyncState, own: Instance, seen: _Seen, *, writes: bool
) -> Instance | None:
    """The surface's instance, after everything that could forbid the run; None where
    one is to be made."""
    found = seen.instance
    known = state.instance_id if not task.options.reinitialise else ""
    if known and (found is None or found.instance_id != known):
        raise _changed(task, "is empty now" if found is None else "is another one now")
    if found is None:
        if writes and task.remote.read_only:
            raise _invalid("the surface is empty and read-only: there is nothing to pull")
        return None
    if found.instance_id == own.instance_id:
        raise _invalid(
            "the surface is a copy of this workspace and has its identity: connect to an empty "
            "folder or database, or restore the copy and sync both with a third one"
        )
    if task.direction == SyncDirection.SYNC_DIRECTION_PUSH:
        check_writable(found)
        if writes and task.remote.read_only:
            raise _invalid("the surface is read-only: it can be pulled from, not pushed to")
    check_readable(found)
    return found


def _believed(task: Task, memory: Handshake, verdict: Verdict) -> Handshake:
    """A surface trusted with content only makes us take a new incarnation once a day at
    most: by changing our row before each run it could fill the clocks of all records."""
    if not verdict.ours or not is_content_only(task.connection) or task.options.reinitialise:
        return memory
    now = task.now_ms()
    if memory.forced_ms and 0 <= now - memory.forced_ms < DAY_MS:
        raise _changed(
            task, "says for the second time within a day that this workspace was restored or "
            "copied, and is trusted with content only"
        )
    return replace(memory, forced_ms=now)


def _may_write(task: Task, surface: Instance) -> bool:
    return not task.remote.read_only and surface.min_writer <= FORMAT_VERSION


async def _registered(
    task: Task, state: SyncState, surface: Instance, epoch: int
) -> SyncState:
    """Remember the surface; forget cursors that are of another one or of its past."""
    known = replace(
        state,
        instance_id=surface.instance_id,
        provider_identity=surface.provider_identity,
        remote_generation=max(surface.generation, state.remote_generation),
        epoch=epoch,
    )
    if state.instance_id != surface.instance_id:
        known = replace(known, remote_generation=surface.generation)
    if (state.instance_id, state.epoch) != (surface.instance_id, epoch):
        known = replace(
            known, push_cursor="", pull_cursor="", push_reconciled_ms=0, pull_reconciled_ms=0,
            in_step_ms=0,
        )
    if known == state:
        return state
    return await SyncStates(task.local.records).store(known)


async def _relayed(task: Task, state: SyncState, there: int) -> None:
    """What collection has to know of this run; one of some projects tells it nothing."""
    if not task.options.project_ids:
        push = task.direction == SyncDirection.SYNC_DIRECTION_PUSH
        await note_run(
            task.local.records, state.connection_id, push=push,
            last_push_ms=state.last_push_ms, there=there,
        )


async def _reborn(task: Task, own: Instance, memory: Handshake) -> Instance:
    """From here on nobody mints as the doubtful incarnation."""
    own = await new_incarnation(
        task.local.records.driver, own.incarnation, unminted_after=memory.hlc
    )
    await task.local.records.become(own.actor)
    return own


async def _doubted(
    task: Task, own: Instance, memory: Handshake, node: Item | None
) -> Instance:
    """We got a new incarnation when the store was opened, as a copy does. If the former
    one had another life, too, what it wrote here after that life's last contact is of
    a second one: the store was rolled back before it was copied."""
    left = memory.incarnation
    if node is None or left not in own.former or left in own.unminted:
        return own
    entry = NodeRow.of(node).entries.get(left)
    if entry is None or not spoke_since(memory, entry):
        return own
    return await doubt(
        task.local.records.driver, left, common_until=memory.hlc, unminted_after=entry.hlc
    )


async def _mint_again(task: Task, own: Instance, sleep: Sleep) -> Instance:
    if task.local.records.driver.capabilities.multi_process:
        await sleep(SETTLE_SECONDS)  # until the other processes have noticed, too
    found = Found(task.now_ms(), task.connection.connection_id)
    await remint(task.local.records, task.remote.replica, Lives.of(own), found=found)
    return await mark_minted(task.local.records.driver, own.unminted)


def _news(memory: Handshake, surface: Instance) -> bool:
    return surface.generation > memory.generation


def _changed(task: Task, what: str) -> WorkspaceError:
    connection = task.connection.connection_id
    return WorkspaceError(
        Reason.ERROR_REASON_SURFACE_CHANGED,
        f"the surface behind the connection {connection} {what}: mount or restore the right one, "
        "or run again with --reinitialise to sync with what is there (nothing is deleted here)",
        metadata={"connection_id": connection},
    )


def _invalid(message: str) -> WorkspaceError:
    return WorkspaceError(Reason.ERROR_REASON_INVALID_STATE, message)
