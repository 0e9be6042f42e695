"""EraseUser: the user record at once, everything else by a resumable job.

A saga; its state is the row `ERASURE#{user_id}`, which holds what is to go for as
long as something is left of it:
(1) the row, and due work that looks after it; (2) the claim: the user is disabled,
so that he counts as nobody's last owner any more; (3) what he would leave orphaned
is looked for (orphans.py), and if there is anything, the claim is taken back and
the call refused; (4) the user record becomes a pseudonym, for good; (5) the job
walks the store (services/records/erasure.py) and remembers how far it is; (6) the
row goes. Due work finds an interrupted call: before (4) it takes the claim back,
after (4) it goes on with (5). Other nodes learn of (4) from the user record that comes
by sync and run (5) for themselves (`arrived`).
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from contextlib import suppress
from typing import Any, Final

from workspace.identity.v1.identity_service_pb2 import EraseUserRequest, EraseUserResponse
from workspace.identity.v1.user_pb2 import IdentityLink, User, UserStatus

from identity_svc.directory import USER, Directory, cut_off, not_found, timestamp, user_pk
from identity_svc.listing import every
from identity_svc.users.orphans import Orphans
from identity_svc.users.users import require_self_or_admin
from services.kernel import Kernel
from services.model.errors import Reason, WorkspaceError
from services.model.families import FAMILIES
from services.model.ids import user_id as user_id_of
from services.model.indexes import Index
from services.records.deciding import deciding
from services.records.erasure import Erasure, Person, Position
from services.records.mutation import require_etag
from services.records.port import ABSENT, ConditionFailed, Item, Key, Match, Put
from services.records.record import Activity, Page, Record, Write
from services.rpc.context import peek_call

__all__ = ["ERASURE", "Erasures"]

ERASURE: Final = "user.erasure"
"""Kind of due work; the subject is the user id."""

_LINK = FAMILIES["identity_link"]
_ACTIVE = UserStatus.USER_STATUS_ACTIVE
_DISABLED = UserStatus.USER_STATUS_DISABLED
_ERASED = UserStatus.USER_STATUS_ERASED
_CLAIM = "is being erased"
_GRACE_SECONDS = 120.0
"""Longer than a call lasts: then an unfinished claim is an interrupted one."""
_ROWS_A_STEP = 20_000
_GONE_AFTER_SECONDS = 3600


class Erasures:
    """See the module."""

    def __init__(self, kernel: Kernel, directory: Directory, orphans: Orphans) -> None:
        self._kernel = kernel
        self._records = kernel.records
        self._directory = directory
        self._orphans = orphans

    async def erase(self, request: EraseUserRequest) -> EraseUserResponse:
        user = request.user_id
        await require_self_or_admin(self._directory, user, "erase")
        mutation, pk = self._kernel.mutations.begin(request), user_pk(user)
        if done := await mutation.replay(pk, EraseUserResponse):
            return done
        base = await self._existing(user)
        if base.message.status == _ERASED:
            return EraseUserResponse(user=base.shown())
        if not _is_claimed(base.message):
            require_etag(base, request.etag, f"users/{user}")
        await self._require_not_held(base.message)
        await self._require_no_orphans(user)  # before anything is written
        person = await self._person(base.message)
        await self._claim(person, base.message)
        try:
            await self._require_no_orphans(user)
        except WorkspaceError:
            await self._take_back(user)
            raise

        async def attempt() -> EraseUserResponse:
            head = await self._records.head(pk)
            current = await self._existing(user)
            if current.message.status == _ERASED:
                return EraseUserResponse(user=current.shown())
            if current.message.status == _ACTIVE:
                raise _overtaken(user)
            return await mutation.commit(
                pk,
                [Write(USER, self._erased(current, person), current)],
                activity=Activity("user.erased", f"users/{user}"),
                answer=lambda records: EraseUserResponse(user=records[0].shown()),
                if_head=head,
            )

        answer = await deciding(attempt)
        await self._kernel.due.schedule(ERASURE, user, self._kernel.now())
        return answer

    async def run(self, user: str) -> float | None:
        """Due work: the next step of an erasure, or the end of an interrupted
        call. Answers when to look again (unix seconds)."""
        row = await self._records.get_row(_key(user))
        if row is None or row.deleted:
            return None
        state, now = json.loads(row.body), self._kernel.now()
        found = await self._directory.user(user)
        if found is None or found.message.status != _ERASED:
            if now < state["at"] + _GRACE_SECONDS:
                return float(state["at"] + _GRACE_SECONDS)
            await self._take_back(user)
            return None
        return await self._step(row, state)

    async def arrived(self, user: str) -> float | None:
        """Due work: the user record may have come by sync. If another node erased the
        person, this store loses his data, too. Where nothing of him is left nothing is
        written, so that two nodes do not go on forever. Idempotent."""
        found = await self._directory.user(user)
        if found is None or found.message.status != _ERASED:
            return None
        row = await self._records.get_row(_key(user))
        if row is None or row.deleted:
            person = await self._person(found.message, await self._told_by_events(user))
            await self._remember(person)
        await self._kernel.due.schedule(ERASURE, user, self._kernel.now())
        return None

    async def _told_by_events(self, user: str) -> list[str]:
        """Addresses that the history here still knows: the record has none any more."""
        texts: list[str] = []
        after: str | None = None
        while True:
            page = await self._records.run(
                Index.BASE, user_pk(user), lower="EVENT#", upper="EVENT$", limit=500, after=after
            )
            for item in page.items:
                texts += _addresses_of(user, json.loads(item.body))
            after = page.next
            if after is None:
                return texts

    async def _step(self, row: Item, state: dict[str, Any]) -> float | None:
        stored = state["person"]
        person = Person(
            stored["user_id"], tuple(stored["addresses"]), tuple(stored.get("linked", ()))
        )
        erasure = Erasure(self._records, person)
        position = await erasure.step(Position.load(state["position"]), rows=_ROWS_A_STEP)
        if position.done:
            await self._drop(person.user_id)
            return None
        body = json.dumps(state | {"position": position.dump()})
        with suppress(ConditionFailed):  # another replica is at it too; both do the same
            await self._records.put_row(Put(row.key, Match(row.token), "erasure", body))
        return self._kernel.now()

    async def _existing(self, user: str) -> Record[User]:
        found = await self._directory.user(user)
        if found is None:
            raise not_found(f"users/{user}")
        return found

    async def _require_not_held(self, user: User) -> None:
        account_id = user.personal_workspace_id
        account = await self._directory.account(account_id) if account_id else None
        if account is not None and account.message.legal_hold:
            resource = f"accounts/{account_id}"
            raise WorkspaceError(
                Reason.ERROR_REASON_HELD,
                f"{resource} is under a legal hold; lift it with UpdateAccount first",
                metadata={"resource": resource},
            )

    async def _require_no_orphans(self, user: str) -> None:
        left = await self._orphans.left_by(user, own_personal=False)
        if left.incomplete:
            raise WorkspaceError(
                Reason.ERROR_REASON_BACKEND_UNAVAILABLE,
                "the service of projects does not answer; repeat the call",
                metadata={"backend": "project"},
                retry_after=1.0,
            )
        if left.scopes:
            kind = left.scopes[0].WhichOneof("scope") or ""
            resource = f"{kind.removesuffix('_id')}s/{getattr(left.scopes[0], kind)}"
            raise WorkspaceError(
                Reason.ERROR_REASON_LAST_OWNER,
                f"{resource} and {len(left.scopes) - 1} more would be left without an owner or "
                "root administrator; hand them over, delete or archive them first",
                metadata={"resource": resource},
            )

    async def _person(self, user: User, known: Sequence[str] = ()) -> Person:
        """The user's addresses, in his record and in those of his identities, and those
        that are `known` besides."""

        async def query(limit: int, after: str | None) -> Page[Any]:
            return await self._records.query(
                _LINK, Index.USER, user_pk(user.user_id), prefix="IDENTITY#",
                limit=limit, after=after,
            )

        links: list[IdentityLink] = [row.message for row in await every(query, at_most=10_000)]
        own = {user_id_of(link.issuer, link.subject) for link in links} - {user.user_id}
        linked = await self._directory.users(sorted(own)[:500])
        texts = [user.email, user.subject, *known]
        texts += [text for link in links for text in (link.email, link.subject)]
        texts += [text for u in linked if u for text in (u.message.email, u.message.subject)]
        return Person.of(user.user_id, texts, [u.message.user_id for u in linked if u])

    async def _claim(self, person: Person, user: User) -> None:
        """Steps 1 and 2."""
        await self._kernel.due.schedule(
            ERASURE, user.user_id, self._kernel.now() + _GRACE_SECONDS
        )
        await self._remember(person)
        await self._set_claim(user.user_id, claimed=True)

    async def _remember(self, person: Person) -> None:
        """The row of what is to go."""
        state = {
            "person": {
                "user_id": person.user_id,
                "addresses": person.addresses,
                "linked": person.linked,
            },
            "at": self._kernel.now(),
            "position": Position().dump(),
        }
        row = await self._records.get_row(_key(person.user_id))
        condition = Match(row.token) if row else ABSENT
        put = Put(_key(person.user_id), condition, "erasure", json.dumps(state))
        with suppress(ConditionFailed):  # a call at the same time says the same
            await self._records.put_row(put)

    async def _take_back(self, user: str) -> None:
        await self._set_claim(user, claimed=False)
        await self._drop(user)

    async def _set_claim(self, user: str, *, claimed: bool) -> None:
        """Disable an active user, or enable one who was disabled by a claim alone."""
        pk = user_pk(user)

        async def attempt() -> None:
            head = await self._records.head(pk)
            base = await self._existing(user)
            ready = base.message.status == _ACTIVE if claimed else _is_claimed(base.message)
            if not ready:
                return
            changed = base.edit()
            changed.status = _DISABLED if claimed else _ACTIVE
            changed.disabled_reason = _CLAIM if claimed else ""
            changed.ClearField("disabled_at")  # this is what tells a claim: _is_claimed
            self._stamp(changed)
            kind = "user.erasure_claimed" if claimed else "user.erasure_refused"
            await self._records.commit(
                pk, [Write(USER, changed, base)],
                activity=Activity(kind, f"users/{user}"), if_head=head,
            )

        await deciding(attempt)

    async def _drop(self, user: str) -> None:
        row = await self._records.get_row(_key(user))
        if row is None or row.deleted:
            return
        gone = Put(
            row.key, Match(row.token), "erasure", "{}", deleted=True,
            expires_at=int(self._kernel.now()) + _GONE_AFTER_SECONDS,
        )
        try:
            await self._records.put_row(gone)
        except ConditionFailed:
            await self._drop(user)

    def _erased(self, base: Record[User], person: Person) -> User:
        user, now = base.edit(), self._kernel.now()
        user.name, user.email = person.pseudonym, person.address
        user.subject = person.pseudonym
        for name in (
            "email_verified", "deployment_claims", "deployment_claims_incomplete",
            "last_seen_at", "disabled_reason", "disabled_at",
        ):
            user.ClearField(name)
        user.status = _ERASED
        user.erased_at.CopyFrom(timestamp(now))
        user.tokens_not_before.CopyFrom(cut_off(base.message, now))
        self._stamp(user)
        return user

    def _stamp(self, user: User) -> None:
        call = peek_call()
        user.updated_at.CopyFrom(timestamp(self._kernel.now()))
        user.updated_by = call.user_id if call else ""


def _addresses_of(user: str, value: Any) -> list[str]:
    """What parsed JSON has as address or subject in objects about a user."""
    if isinstance(value, list):
        return [text for each in value for text in _addresses_of(user, each)]
    if not isinstance(value, dict):
        return []
    texts = [text for each in value.values() for text in _addresses_of(user, each)]
    if value.get("user_id") == user:
        own = (value.get(name) for name in ("email", "subject"))
        texts += [text for text in own if isinstance(text, str) and not _is_pseudonym(text)]
    return texts


def _is_pseudonym(text: str) -> bool:
    return text.endswith("@erased.invalid")


def _is_claimed(user: User) -> bool:
    """Disabled by a claim alone. Whoever else disables a user also sets the time,
    which no request names; the reason is free text and decides nothing."""
    return (
        user.status == _DISABLED
        and not user.HasField("disabled_at")
        and not user.linked_to_user_id
    )


def _overtaken(user: str) -> WorkspaceError:
    """The claim was taken back: by a call at the same time, or for its age."""
    return WorkspaceError(
        Reason.ERROR_REASON_CONFLICTING_WRITE,
        f"users/{user} changed meanwhile; repeat the call",
        retry_after=1.0,
    )


def _key(user: str) -> Key:
    return Key(f"ERASURE#{user}", "ERASURE")
