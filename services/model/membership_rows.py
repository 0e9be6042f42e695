"""Which rows membership facts rest on: what a changed row makes stale.

The keys are those of the families table; a test holds the two together.
"""

from __future__ import annotations

from typing import Final

__all__ = ["ACCOUNT", "TEAM", "USER", "affected_user", "is_identity_partition"]

ACCOUNT: Final = "ACCOUNT#"
TEAM: Final = "TEAM#"
USER: Final = "USER#"
_MEMBER: Final = "MEMBER#"
_PLATFORM: Final = "PLATFORM"
_ADMIN: Final = "ADMIN#"


def is_identity_partition(pk: str) -> bool:
    """Whether rows of this partition can be what a membership fact rests on."""
    return pk.startswith((ACCOUNT, TEAM, USER)) or pk == _PLATFORM


def affected_user(pk: str, sk: str) -> str | None:
    """Whose membership facts a change of this row makes stale: a user id, '' for
    everybody with facts of the partition, None when no fact rests on the row."""
    if pk.startswith((ACCOUNT, TEAM)):
        if sk == pk:
            return ""
        return sk.removeprefix(_MEMBER) if sk.startswith(_MEMBER) else None
    if pk.startswith(USER):
        return pk.removeprefix(USER) if sk == pk else None
    if pk == _PLATFORM and sk.startswith(_ADMIN):
        return sk.removeprefix(_ADMIN)
    return None
