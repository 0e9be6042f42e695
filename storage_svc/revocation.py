"""Whether a signed URL has lost the right it was signed for.

Asked by our own data plane on each use. A URL is bound to its user, to a scope
(`view` or `write`, project, epoch, document) and to the grants it was decided
under. It is revoked when its user no longer holds that permission: the grant
ended, the membership, the account or the user was closed, the project moved, the
document was put in the trash. One that a machine token asked for ends with that
token, too. A changed revision alone revokes nothing, or sharing a project with one more
person would cut everybody's transfers; it only overrides the cache.
"""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from workspace.common.v1.permission_pb2 import Permission

from storage_svc.gate import ProjectGate

__all__ = ["CACHE_SECONDS", "Revocation", "principal_of", "scope_of"]

CACHE_SECONDS = 2.0
"""With the time between two looks at a transfer (`services/http/while_allowed.py`) it has
to stay below the five seconds in which a URL ends."""
_CACHED = 10_000
_NAMES = {
    "view": int(Permission.PERMISSION_VIEW),
    "write": int(Permission.PERMISSION_WRITE),
}


def scope_of(
    permission: str, project_id: str, epoch: str = "", document_id: str = ""
) -> str:
    """What a URL is bound to. `permission` is `view` or `write`, `epoch` that of
    the project (RevokeTransfers)."""
    return f"{permission}/{project_id}/{epoch}/{document_id}".rstrip("/")


def principal_of(user_id: str, token_id: str = "") -> str:
    """Who a URL is signed for: a user, by a machine token of his or ''."""
    return f"{user_id}/{token_id}".rstrip("/")


async def _no_epoch(_project_id: str) -> str:
    return ""


async def _no_token(_token_id: str) -> bool:
    return False


@dataclass(frozen=True, slots=True)
class _Held:
    permissions: frozenset[int]
    revision: int
    until: float


class Revocation:
    """`clock` is monotonic seconds. An answer is trusted for at most `CACHE_SECONDS`
    after it was asked for."""

    def __init__(
        self,
        gate: ProjectGate,
        *,
        epoch_of: Callable[[str], Awaitable[str]] = _no_epoch,
        token_works: Callable[[str], Awaitable[bool]] = _no_token,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._gate = gate
        self._epoch_of = epoch_of
        self._token_works = token_works
        self._clock = clock
        self._held: OrderedDict[tuple[str, str, str], _Held] = OrderedDict()

    async def is_revoked(self, principal: str, scope: str, revision: int) -> bool:
        """True when the URL must be refused. Raises when nobody can tell; the
        data plane refuses then, too."""
        word, project_id, epoch, document_id = (*scope.split("/"), "", "", "")[:4]
        permission = _NAMES.get(word)
        user_id, _, token_id = principal.partition("/")
        if permission is None or not user_id or not project_id:
            return True
        if token_id and not await self._token_works(token_id):
            return True
        if epoch != await self._epoch_of(project_id):
            return True
        held = await self._current(user_id, project_id, document_id, revision)
        return permission not in held.permissions

    async def _current(
        self, user_id: str, project_id: str, document_id: str, revision: int
    ) -> _Held:
        asked = (user_id, project_id, document_id)
        known = self._held.get(asked)
        if known is not None and self._clock() < known.until and known.revision == revision:
            return known
        until = self._clock() + CACHE_SECONDS
        permissions, newest = await self._gate.permissions_of(*asked)
        held = _Held(permissions, newest, until)
        self._held[asked] = held
        self._held.move_to_end(asked)
        if len(self._held) > _CACHED:
            self._held.popitem(last=False)
        return held
