"""The instance record: which store this is, and which life of it.

`instance_id` is random and never changes. `incarnation` is new for a store
that was restored or cloned (its provider identity is another than recorded),
so that counters of versions are never handed out twice. `generation` grows by
one with every process start.
"""

from __future__ import annotations

import json
import secrets
from dataclasses import asdict, dataclass, replace

from services.model.errors import Reason, WorkspaceError
from services.records.port import ABSENT, ConditionFailed, Item, Key, Match, Put, RecordDriver

__all__ = ["FORMAT_VERSION", "Instance", "open_instance"]

FORMAT_VERSION = 1
_KEY = Key("INSTANCE", "INSTANCE")
_TRIES = 10


@dataclass(frozen=True, slots=True)
class Instance:
    """See the module. `min_reader`/`min_writer`: oldest format that may."""

    instance_id: str
    incarnation: str
    provider_identity: str
    generation: int = 0
    format: int = FORMAT_VERSION
    min_reader: int = 1
    min_writer: int = 1

    @property
    def actor(self) -> str:
        """Who mints versions: instance and incarnation."""
        return f"{self.instance_id}.{self.incarnation}"


async def open_instance(driver: RecordDriver) -> Instance:
    """Read or create the instance record and begin a new generation.

    Raises INVALID_STATE when the store was written by a newer format.
    """
    identity = await driver.identity()
    for _ in range(_TRIES):
        item = await driver.get(_KEY)
        instance = _begun(item, identity)
        try:
            await driver.commit(_KEY.pk, [_put(instance, item)])
        except ConditionFailed:
            continue  # another replica started at the same moment
        return instance
    raise WorkspaceError(
        Reason.ERROR_REASON_CONFLICTING_WRITE, "too many processes start at once; start again"
    )


def _begun(item: Item | None, identity: str) -> Instance:
    if item is None:
        return Instance("n" + secrets.token_hex(8), secrets.token_hex(8), identity, 1)
    found = Instance(**json.loads(item.body))
    if found.min_writer > FORMAT_VERSION:
        raise WorkspaceError(
            Reason.ERROR_REASON_INVALID_STATE,
            f"the store has format {found.format}, this program writes {FORMAT_VERSION}; "
            "install the version that wrote it",
        )
    if found.provider_identity != identity:
        found = replace(found, incarnation=secrets.token_hex(8), provider_identity=identity)
    return replace(found, generation=found.generation + 1)


def _put(instance: Instance, item: Item | None) -> Put:
    condition = Match(item.token) if item else ABSENT
    return Put(_KEY, condition, "instance", json.dumps(asdict(instance), sort_keys=True))
