"""How much mail a person gets: 20 an hour, then one summary of the rest.

The row `MAIL#{recipient}`, `STATE` has what went out in the last hour and what was
held back. While something is held back everything is, so that the summary ends the
hour. A mail that is tried again keeps its place.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from services.events.due import DueWork
from services.model.errors import Reason, WorkspaceError
from services.records.port import ABSENT, ConditionFailed, Item, Key, Match, Put
from services.records.store import RecordStore

__all__ = ["HOURLY", "MAIL_SUMMARY", "Held", "Quota"]

HOURLY: Final = 20
MAIL_SUMMARY: Final = "mail.summary"
"""Kind of the due work; its subject is the recipient."""
_HOUR: Final = 3600.0
_MOST_HELD: Final = 200
_KEPT_SECONDS: Final = 7 * 24 * 3600
_TRIES: Final = 20
_Change = Callable[["_State"], bool]


@dataclass(frozen=True, slots=True)
class Held:
    """What was held back: mail id -> topic; and, of letters to an address that need
    not be a user's, to which invitations."""

    topics: Mapping[str, str]
    invitation_ids: Sequence[str] = ()

    @property
    def mail_id(self) -> str:
        """Of the summary: the same until something is added."""
        return hashlib.sha256(" ".join(sorted(self.topics)).encode()).hexdigest()[:40]


@dataclass(slots=True)
class _State:
    sent: dict[str, float] = field(default_factory=dict)
    held: dict[str, str] = field(default_factory=dict)
    invitation_ids: list[str] = field(default_factory=list)

    def forget(self, now: float) -> None:
        self.sent = {each: at for each, at in self.sent.items() if at > now - _HOUR}


class Quota:
    """See the module. `now` is unix seconds."""

    def __init__(self, records: RecordStore, due: DueWork, *, now: Callable[[], float]) -> None:
        self._records = records
        self._due = due
        self._now = now

    async def take(
        self, recipient: str, mail_id: str, topic: str, *, invitation_id: str = ""
    ) -> bool:
        """Whether this mail may go out now; else it is in the summary."""
        now, allowed = self._now(), False

        def change(state: _State) -> bool:
            nonlocal allowed
            allowed = mail_id in state.sent
            if allowed or mail_id in state.held:
                return False
            allowed = not state.held and len(state.sent) < HOURLY
            if allowed:
                state.sent[mail_id] = now
            elif len(state.held) < _MOST_HELD:
                state.held[mail_id] = topic
                if invitation_id:
                    state.invitation_ids.append(invitation_id)
            return True

        state = await self._change(recipient, change, now)
        if not allowed:
            # Again for each that is held: the row must not be there without due work.
            at = min(state.sent.values(), default=now) + _HOUR
            await self._due.schedule(MAIL_SUMMARY, recipient, at)
        return allowed

    async def held(self, recipient: str) -> Held | None:
        """What the next summary is about."""
        state, _ = await self._read(recipient)
        return Held(state.held, state.invitation_ids) if state.held else None

    async def told(self, recipient: str, held: Held) -> bool:
        """A summary of this went out. Whether more was held back meanwhile."""
        now = self._now()

        def change(state: _State) -> bool:
            state.held = {id_: t for id_, t in state.held.items() if id_ not in held.topics}
            known = frozenset(held.invitation_ids)
            state.invitation_ids = [each for each in state.invitation_ids if each not in known]
            state.sent[held.mail_id] = now
            return True

        return bool((await self._change(recipient, change, now)).held)

    async def _change(self, recipient: str, change: _Change, now: float) -> _State:
        for _ in range(_TRIES):
            state, item = await self._read(recipient)
            state.forget(now)
            if not change(state):
                return state
            put = Put(
                _key(recipient), Match(item.token) if item else ABSENT, "mail", _dump(state),
                expires_at=int(now) + _KEPT_SECONDS,
            )
            try:
                await self._records.put_row(put)
            except ConditionFailed:
                continue  # another mail to the same person
            return state
        raise WorkspaceError(
            Reason.ERROR_REASON_CONFLICTING_WRITE, "too many mails to one person at once"
        )

    async def _read(self, recipient: str) -> tuple[_State, Item | None]:
        item = await self._records.get_row(_key(recipient))
        row: dict[str, Any] = json.loads(item.body) if item else {}
        return _State(**row), item


def _key(recipient: str) -> Key:
    return Key(f"MAIL#{recipient}", "STATE")


def _dump(state: _State) -> str:
    return json.dumps(
        {"sent": state.sent, "held": state.held, "invitation_ids": state.invitation_ids}
    )
