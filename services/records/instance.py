"""The instance record: which store this is, and which life of it.

`instance_id` is random and never changes. `incarnation` is new for a store
that was restored or cloned (its provider identity is another than recorded, or
a peer noticed), so that counters of versions are never handed out twice.
`generation` grows by one with every process start; looking at a store from
outside, as sync does, is no start.
"""

from __future__ import annotations

import json
import re
import secrets
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field, fields, replace

from services.model.errors import Reason, WorkspaceError
from services.records.port import ABSENT, ConditionFailed, Item, Key, Match, Put, RecordDriver

__all__ = [
    "FORMAT_VERSION", "INSTANCE_KEY", "Instance", "check_readable", "check_writable",
    "create_instance", "doubt", "instance_of", "mark_minted", "new_incarnation", "open_instance",
    "raise_floor", "read_instance",
]  # fmt: skip

FORMAT_VERSION = 1
INSTANCE_KEY = Key("INSTANCE", "INSTANCE")
_TRIES = 10
_NAME = re.compile(r"[A-Za-z0-9_-]{1,64}")
"""Instance and incarnation: parts of keys and of stamps."""
_MOST_IDENTITY = 1024
_MOST_TIME = 64
_UNSOUND = "the store's instance record is damaged; restore the store from a backup"
_SUSPICION_MS = 86_400_000


@dataclass(frozen=True, slots=True)
class Instance:
    """See the module. `min_reader`/`min_writer`: oldest format that may. `former`
    are incarnations that were this store's, oldest first. `unminted`: of those, the
    ones whose versions may have dots of another life, each with two clock readings:
    what was stamped up to the first is common to all lives, what was stamped here after
    the second is in doubt (services/records/remint.py). `floor`: stamps that
    are made from now on are later than this reading. `suspected_ms`: when a surface last
    had versions in this store's name that it did not make (unix milliseconds, 0 never)."""

    instance_id: str
    incarnation: str
    provider_identity: str
    generation: int = 0
    format: int = FORMAT_VERSION
    min_reader: int = 1
    min_writer: int = 1
    former: tuple[str, ...] = ()
    unminted: Mapping[str, tuple[str, str]] = field(default_factory=dict)
    floor: str = ""
    suspected_ms: int = 0

    @property
    def actor(self) -> str:
        """Who mints versions: instance and incarnation."""
        return self.actor_of(self.incarnation)

    def actor_of(self, incarnation: str) -> str:
        """The actor of this or a former incarnation."""
        return f"{self.instance_id}.{incarnation}"


async def open_instance(driver: RecordDriver) -> Instance:
    """Read or create the instance record and begin a new generation.

    Raises INVALID_STATE when the store was written by a newer format.
    """
    identity = await driver.identity()
    return await _change(driver, lambda found: _begun(found, identity))


async def read_instance(driver: RecordDriver) -> Instance | None:
    """The instance record as it is; None for a store that was never opened. Whether
    its format is known is for `check_readable` and `check_writable`."""
    item = await driver.get(INSTANCE_KEY)
    return instance_of(item) if item else None


async def create_instance(driver: RecordDriver) -> Instance:
    """Read or create the instance record of a store that is looked at from outside:
    no new generation. One whose provider identity is another than recorded was
    restored or copied, and gets a new incarnation.

    Raises INVALID_STATE when this program is too old to write there.
    """
    identity = await driver.identity()
    found = await read_instance(driver)
    if found is not None and found.provider_identity == identity:
        check_writable(found)
        return found
    return await _change(driver, lambda now: _settled(now, identity))


async def new_incarnation(
    driver: RecordDriver,
    replaced: str,
    *,
    unminted_after: str | None = None,
    suspected_ms: int | None = None,
) -> Instance:
    """Give the store another incarnation if `replaced` still is the one in use, and
    return what is in use then. `unminted_after`: versions that `replaced` made after
    this reading are to be minted again; None: there are none. `suspected_ms`: now (unix
    milliseconds), if the word of a surface is the only reason. That counts once a day:
    who writes there could fill the clocks of all records with incarnations."""

    def change(found: Instance | None) -> Instance:
        if found is None:
            raise _invalid("the store has no instance record; open it once as a workspace")
        if found.incarnation != replaced:
            return found
        if suspected_ms is not None:
            if found.suspected_ms and 0 <= suspected_ms - found.suspected_ms < _SUSPICION_MS:
                return found
            found = replace(found, suspected_ms=suspected_ms)
        later = _reborn(found)
        if unminted_after is None:
            return later
        bounds = (unminted_after, unminted_after)
        return replace(later, unminted={**found.unminted, replaced: bounds})

    return await _change(driver, change)


async def doubt(
    driver: RecordDriver, former: str, *, common_until: str, unminted_after: str
) -> Instance:
    """Versions that a former incarnation made after a reading are to be minted again:
    it had another life before it was replaced."""

    def change(found: Instance | None) -> Instance:
        assert found is not None, "it was read before"
        bounds = (common_until, unminted_after)
        return replace(found, unminted={**found.unminted, former: bounds})

    return await _change(driver, change)


async def mark_minted(
    driver: RecordDriver, incarnations: Mapping[str, tuple[str, str]]
) -> Instance:
    """Versions of these former incarnations were minted again."""

    def change(found: Instance | None) -> Instance:
        assert found is not None, "it was read before"
        left = {i: at for i, at in found.unminted.items() if incarnations.get(i) != at}
        return replace(found, unminted=left)

    return await _change(driver, change)


async def raise_floor(driver: RecordDriver, reading: str) -> None:
    """Let every later stamp of this store, in any process, be later than `reading`."""

    def change(found: Instance | None) -> Instance:
        assert found is not None, "it was read before"
        return replace(found, floor=max(found.floor, reading))

    await _change(driver, change)


def instance_of(item: Item) -> Instance:
    """What an instance row says; members of a later format are passed over. Raises
    INVALID_STATE when it is no instance row: that of a surface may be anything."""
    known = {each.name for each in fields(Instance)}
    try:
        members = {name: v for name, v in json.loads(item.body).items() if name in known}
        unminted = {i: (each[0], each[1]) for i, each in members.get("unminted", {}).items()}
        former = tuple(members.get("former", ()))
        found = Instance(**members | {"former": former, "unminted": unminted})
        sound = _is_sound(found)
    except (ValueError, TypeError, AttributeError, LookupError, RecursionError) as error:
        raise _invalid(_UNSOUND) from error
    if not sound:
        raise _invalid(_UNSOUND)
    return found


def _is_sound(found: Instance) -> bool:
    numbers = (found.generation, found.format, found.min_reader, found.min_writer)
    names = (found.instance_id, found.incarnation, *found.former, *found.unminted)
    times = (found.floor, *(each for pair in found.unminted.values() for each in pair))
    return (
        all(type(each) is int and 0 <= each < 2**53 for each in numbers)
        and all(_NAME.fullmatch(each) for each in names)
        and all(isinstance(each, str) and len(each) <= _MOST_TIME for each in times)
        and isinstance(found.provider_identity, str)
        and len(found.provider_identity) <= _MOST_IDENTITY
    )


def check_readable(instance: Instance) -> None:
    """Raises INVALID_STATE when reading the store needs a later format."""
    if instance.min_reader > FORMAT_VERSION:
        raise _too_new(instance, "reads")


def check_writable(instance: Instance) -> None:
    """Raises INVALID_STATE when writing to the store needs a later format."""
    check_readable(instance)
    if instance.min_writer > FORMAT_VERSION:
        raise _too_new(instance, "writes")


async def _change(
    driver: RecordDriver, change: Callable[[Instance | None], Instance]
) -> Instance:
    """Compare-and-swap of the row; nothing is written when nothing changes."""
    for _ in range(_TRIES):
        item = await driver.get(INSTANCE_KEY)
        before = instance_of(item) if item else None
        after = change(before)
        if after == before:
            return after
        try:
            await driver.commit(INSTANCE_KEY.pk, [_put(after, item)])
        except ConditionFailed:
            continue  # another process did something at the same moment
        return after
    raise WorkspaceError(
        Reason.ERROR_REASON_CONFLICTING_WRITE, "too many processes start at once; start again"
    )


def _begun(found: Instance | None, identity: str) -> Instance:
    settled = _settled(found, identity)
    return replace(settled, generation=settled.generation + 1)


def _settled(found: Instance | None, identity: str) -> Instance:
    if found is None:
        return Instance("n" + secrets.token_hex(8), secrets.token_hex(8), identity)
    check_writable(found)
    if found.provider_identity == identity:
        return found
    # Nothing was written under the old incarnation since the copy was made: what
    # has its dots has them in every copy, and need not be minted again.
    return replace(_reborn(found), provider_identity=identity)


def _reborn(found: Instance) -> Instance:
    former = (*found.former, found.incarnation)
    return replace(found, incarnation=secrets.token_hex(8), former=former)


def _too_new(instance: Instance, does: str) -> WorkspaceError:
    return _invalid(
        f"the store has format {instance.format}, this program {does} {FORMAT_VERSION}; "
        "install the version that wrote it"
    )


def _invalid(message: str) -> WorkspaceError:
    return WorkspaceError(Reason.ERROR_REASON_INVALID_STATE, message)


def _put(instance: Instance, item: Item | None) -> Put:
    """The row; what a later format added to it stays."""
    condition = Match(item.token) if item else ABSENT
    body = (json.loads(item.body) if item else {}) | asdict(instance)
    return Put(INSTANCE_KEY, condition, "instance", json.dumps(body, sort_keys=True))
