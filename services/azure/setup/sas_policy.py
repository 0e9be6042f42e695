"""The plan of how long signed URLs of a storage account may live."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import timedelta
from typing import Any, Final

from services.setup.plan import Step, Verb, compared

__all__ = ["plan_sas_policy"]

_LABEL: Final = "signed URLs"
_PERIOD: Final = re.compile(r"(?:(\d+)\.)?(\d+):(\d+):(\d+)", re.ASCII)
_OLD_KEYS: Final = (
    "of any life: Azure takes no limit while the account's keys are older than that setting; "
    "`az storage account keys renew` both, though nobody may use them, and run again"
)


def plan_sas_policy(
    name: str, want: Mapping[str, Any], account: Mapping[str, Any] | None
) -> Step:
    """The step, without its call. `account` is what is there, None for one that is made."""
    found = (account or {}).get("properties", {})
    was = found.get("sasPolicy") or {}
    good = _is_same(want, was)
    if account is not None and not good and not _is_dated(found):
        return Step(name, _LABEL, Verb.LEAVE, _OLD_KEYS, _shown(was))
    text = _shown(was) if account is not None else ""
    return compared(name, _LABEL, wanted=_shown(want), was=text, good=good, calls=[])


def _is_same(want: Mapping[str, Any], found: Mapping[str, Any]) -> bool:
    """Azure may write the period another way."""
    key = "expirationAction"
    return found.get(key) == want[key] and _life(found) == _life(want)


def _is_dated(properties: Mapping[str, Any]) -> bool:
    """Whether Azure knows of both account keys when they were made, as it must to take a
    policy ("Do I need to rotate the account access keys first?")."""
    known = properties.get("keyCreationTime") or {}
    return bool(known.get("key1") and known.get("key2"))


def _life(policy: Mapping[str, Any]) -> timedelta | None:
    found = _PERIOD.fullmatch(str(policy.get("sasExpirationPeriod", "")))
    if found is None:
        return None
    days, hours, minutes, seconds = (int(each or 0) for each in found.groups())
    return timedelta(days=days, hours=hours, minutes=minutes, seconds=seconds)


def _shown(policy: Mapping[str, Any]) -> str:
    """`for 75 minutes`; of longer ones `refused` or `logged`."""
    life = _life(policy)
    if life is None:
        return "of any life"
    longer = "refused" if policy.get("expirationAction") == "Block" else "only logged"
    return f"for {life.total_seconds() / 60:g} minutes, longer ones {longer}"
