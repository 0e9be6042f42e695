"""What is known about the call that is being served.

The interceptors fill it, handlers and use cases read it. It lives in a
ContextVar, so that each call (socket or in-process) has its own.
"""

from __future__ import annotations

from contextvars import ContextVar
from dataclasses import dataclass, field

from services.model.token_scopes import TokenScope

__all__ = ["Call", "Caller", "current_call", "peek_call", "scope_of", "set_current_call"]


@dataclass(frozen=True, slots=True)
class Caller:
    """A verified person or machine user. `claims` are recorded, never trusted
    for access. Times are unix seconds. `scope` is that of a machine token; None:
    a person signed in. `user_id` is where links lead, once admitted. `dated_back`:
    by how much, at most, `issued_at` is before the token was made."""

    user_id: str
    issuer: str
    subject: str
    email: str = ""
    email_verified: bool = False
    name: str = ""
    groups: tuple[str, ...] = ()
    token_id: str = ""
    issued_at: int = 0
    expires_at: int = 0
    scopes: tuple[str, ...] = ()
    provider: str = ""
    groups_incomplete: bool = False
    scope: TokenScope | None = None
    dated_back: int = 0


@dataclass(slots=True)
class Call:
    """One call: ids, method, deadline, who asks, and through which service.

    `deadline` is in `time.monotonic()` seconds. `caller` is None before
    authentication and on public methods; `service` is the verified service
    identity of the peer ('' for none); `bearer` is forwarded to peers and is
    never logged.
    """

    request_id: str
    method: str
    deadline: float
    caller: Caller | None = None
    service: str = ""
    bearer: str = field(default="", repr=False)
    trace_id: str = ""

    @property
    def user_id(self) -> str:
        """The caller's user id; empty when no person is behind the call."""
        return self.caller.user_id if self.caller else ""


_current: ContextVar[Call | None] = ContextVar("workspace_call", default=None)


def scope_of(user_id: str) -> TokenScope | None:
    """The scope that cuts what `user_id` may do in this call: that of the
    caller's machine token. None: nothing is cut (a person, or somebody else)."""
    call = _current.get()
    caller = call.caller if call else None
    return caller.scope if caller and caller.user_id == user_id else None


def current_call() -> Call:
    """The call being served. Raises LookupError outside of one."""
    call = _current.get()
    if call is None:
        raise LookupError("no call is being served")
    return call


def peek_call() -> Call | None:
    """The call being served, or None (start-up, background work)."""
    return _current.get()


def set_current_call(call: Call | None) -> None:
    """Bind `call` to this task (each call is served in a task of its own)."""
    _current.set(call)
