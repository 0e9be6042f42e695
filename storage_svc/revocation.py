"""Whether a signed URL has lost the right it was signed for.

Asked by our own data plane on each use. A URL is bound to its user, to a scope
(`view/{project_id}` or `write/{project_id}`) and to the grants it was decided
under. It is revoked when its user no longer holds that permission: the grant
ended, the membership, the account or the user was closed, the project moved. A
changed revision alone revokes nothing, or sharing a project with one more
person would cut everybody's transfers; it only overrides the cache.
"""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass

from workspace.common.v1.permission_pb2 import Permission

from storage_svc.gate import ProjectGate

__all__ = ["CACHE_SECONDS", "Revocation", "scope_of"]

CACHE_SECONDS = 5.0
_CACHED = 10_000
_NAMES = {
    "view": int(Permission.PERMISSION_VIEW),
    "write": int(Permission.PERMISSION_WRITE),
}


def scope_of(permission: str, project_id: str) -> str:
    """What a URL is bound to. `permission` is `view` or `write`."""
    return f"{permission}/{project_id}"


@dataclass(frozen=True, slots=True)
class _Held:
    permissions: frozenset[int]
    revision: int
    until: float


class Revocation:
    """`clock` is monotonic seconds. An answer is trusted for at most 5 s after
    it was asked for."""

    def __init__(self, gate: ProjectGate, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._gate = gate
        self._clock = clock
        self._held: OrderedDict[tuple[str, str], _Held] = OrderedDict()

    async def is_revoked(self, principal: str, scope: str, revision: int) -> bool:
        """True when the URL must be refused. Raises when nobody can tell; the
        data plane refuses then, too."""
        word, _, project_id = scope.partition("/")
        permission = _NAMES.get(word)
        if permission is None or not principal or not project_id:
            return True
        held = await self._current(principal, project_id, revision)
        return permission not in held.permissions

    async def _current(self, principal: str, project_id: str, revision: int) -> _Held:
        known = self._held.get((principal, project_id))
        if known is not None and self._clock() < known.until and known.revision == revision:
            return known
        until = self._clock() + CACHE_SECONDS
        permissions, newest = await self._gate.permissions_of(principal, project_id)
        held = _Held(permissions, newest, until)
        self._held[principal, project_id] = held
        self._held.move_to_end((principal, project_id))
        if len(self._held) > _CACHED:
            self._held.popitem(last=False)
        return held
