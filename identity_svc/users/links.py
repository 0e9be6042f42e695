"""Identities of one person: linking two, taking one off, listing them.

Linking is a saga; each step passes what is done, so that a repeat finishes it:
(1) the link of the moved identity leads to the kept user; (2) the kept user's
partition takes the answer; (3) the moved identity's own user, if there is one,
is retired: admission then follows the link. Unlinking goes the same way back.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

from workspace.identity.v1.identity_service_pb2 import (
    LinkIdentityRequest,
    LinkIdentityResponse,
    ListIdentityLinksRequest,
    ListIdentityLinksResponse,
    UnlinkIdentityRequest,
    UnlinkIdentityResponse,
)
from workspace.identity.v1.user_pb2 import IdentityLink, User, UserStatus

from identity_svc.directory import (
    USER,
    USER_ACTIVE,
    Directory,
    invalid_state,
    timestamp,
    user_pk,
)
from identity_svc.listing import Pager
from identity_svc.settling import settle
from identity_svc.users.holdings import Holdings
from identity_svc.users.users import require_self_or_admin
from services.kernel import Kernel
from services.model.errors import Reason, WorkspaceError, invalid_field, permission_denied
from services.model.families import FAMILIES
from services.model.ids import identity_hash, user_id
from services.model.indexes import Index
from services.records.mutation import Mutation, require_etag
from services.records.port import Key
from services.records.record import Activity, Page, Record, Write
from services.rpc.authentication import Authenticator
from services.rpc.context import Caller, current_call
from services.rpc.headers import unauthenticated
from services.tokens.admission import UserAdmission, is_revoked

__all__ = ["FRESH_SECONDS", "Links"]

FRESH_SECONDS: Final = 300
_LINK = FAMILIES["identity_link"]
_RETIRED: Final = "joined to another user by LinkIdentity"


@dataclass(frozen=True, slots=True)
class _Join:
    """`moved` is the identity that changes hands; `kept` the user it leads to."""

    kept: str
    moved: Caller

    @property
    def link_id(self) -> str:
        return _link_id(self.moved)

    @property
    def own_user(self) -> str:
        """The user that the moved identity has, or had, by itself."""
        return user_id(self.moved.issuer, self.moved.subject)


class Links:
    """See the module. `authenticator` judges the second token."""

    def __init__(
        self,
        kernel: Kernel,
        directory: Directory,
        holdings: Holdings,
        authenticator: Authenticator,
    ) -> None:
        self._kernel = kernel
        self._records = kernel.records
        self._directory = directory
        self._holdings = holdings
        self._authenticator = authenticator
        self._admission = UserAdmission(kernel.records)
        self._pager = Pager(kernel)

    async def link(self, request: LinkIdentityRequest) -> LinkIdentityResponse:
        caller = self._caller()
        other = await self._other(request.other_token)
        kept = LinkIdentityRequest(other_token=_link_id(other), request_id=request.request_id)
        mutation = self._begin(kept, caller)
        done = await mutation.replay(user_pk(caller.user_id), LinkIdentityResponse)
        if done is not None:
            return done
        join = await self._decide(caller, other)
        link = await self._claim(join)
        answer = await self._answer_link(mutation, join, link)
        await self._retire(join)
        return answer

    async def unlink(self, request: UnlinkIdentityRequest) -> UnlinkIdentityResponse:
        caller = self._caller()
        other = await self._other(request.other_token)
        kept = UnlinkIdentityRequest()
        kept.CopyFrom(request)
        kept.other_token = _link_id(other)  # says whose it was; not even its hash is stored
        mutation = self._begin(kept, caller)
        pk = user_pk(caller.user_id)
        done = await mutation.replay(pk, UnlinkIdentityResponse)
        if done is not None:
            return done
        link = await self._own_link(request.link_id, caller, other)
        require_etag(link, request.etag, f"identityLinks/{request.link_id}")
        join = _Join(caller.user_id, other)
        await self._point(link, join.own_user, "identity.unlinked", primary=True)
        await self._revive(join)
        return await self._answer_unlink(mutation, join)

    async def list_of_user(
        self, request: ListIdentityLinksRequest
    ) -> ListIdentityLinksResponse:
        await require_self_or_admin(self._directory, request.user_id, "list_identity_links")

        async def query(limit: int, after: str | None) -> Page[Any]:
            return await self._records.query(
                _LINK, Index.USER, user_pk(request.user_id),
                prefix="IDENTITY#", limit=limit, after=after,
            )

        async def keep(rows: Any) -> list[IdentityLink]:
            found = await self._records.batch_get(_LINK, [row.key for row in rows]) if rows else []
            return [
                row.shown() for row in found if row and row.message.user_id == request.user_id
            ]

        page = await self._pager.page(request, query, keep)
        return ListIdentityLinksResponse(
            identity_links=page.items, next_page_token=page.next_page_token
        )

    def _caller(self) -> Caller:
        caller = current_call().caller
        if caller is None or caller.scope is not None:
            raise unauthenticated()
        self._require_fresh(caller)
        return caller

    def _begin(self, request: Any, caller: Caller) -> Mutation:
        # By identity: linking may change the caller's user id between repeats.
        return self._kernel.mutations.begin(request, principal=f"identity:{_link_id(caller)}")

    def _require_fresh(self, caller: Caller) -> None:
        if caller.issued_at + caller.dated_back < self._kernel.now() - FRESH_SECONDS:
            raise unauthenticated()

    async def _other(self, token: str) -> Caller:
        """The second identity, as the user it leads to now. Raises
        UNAUTHENTICATED and USER_DISABLED, as for a bearer."""
        other = await self._authenticator.authenticate(token)
        if other.scope is not None:
            raise unauthenticated()
        self._require_fresh(other)
        other, user = await self._admission.resolve(other)
        # A retired user whose link leads to itself is left by an interrupted unlinking.
        if user is not None and user.status != USER_ACTIVE and not user.linked_to_user_id:
            raise WorkspaceError(
                Reason.ERROR_REASON_USER_DISABLED,
                "the user of the other identity is disabled; ask a platform admin to enable it",
                metadata={"user_id": other.user_id},
            )
        if user is not None and is_revoked(user, other.issued_at):
            raise unauthenticated()
        return other

    async def _decide(self, caller: Caller, other: Caller) -> _Join:
        """Which user is kept: the one that holds records, else the caller's."""
        if other.user_id == caller.user_id:
            raise WorkspaceError(
                Reason.ERROR_REASON_ALREADY_EXISTS,
                "this identity is linked to you already",
                metadata={"resource": f"identityLinks/{_link_id(other)}"},
            )
        for moved, kept in ((other, caller.user_id), (caller, other.user_id)):
            begun = await self._link(_link_id(moved))
            if begun is not None and begun.message.user_id == kept:
                return _Join(kept, moved)  # an interrupted call had decided
        return await self._choose(caller, other)

    async def _choose(self, caller: Caller, other: Caller) -> _Join:
        await self._kernel.feed.indexes_settled()
        theirs = await self._holdings.of(other.user_id)
        if theirs and await self._holdings.of(caller.user_id):
            raise invalid_state(
                f"users/{other.user_id}",
                "holding records, as the caller is",
                "two users with records are not joined; move the records of one first",
            )
        join = _Join(other.user_id, caller) if theirs else _Join(caller.user_id, other)
        retired = join.moved.user_id
        if retired != join.own_user or await self._linked_to(retired, besides=join.link_id):
            raise invalid_state(
                f"users/{retired}", "linked to other identities", "unlink them first"
            )
        return join

    async def _linked_to(self, user: str, *, besides: str) -> bool:
        page = await self._records.query(
            _LINK, Index.USER, user_pk(user), prefix="IDENTITY#", limit=2
        )
        return any(row.message.link_id != besides for row in page.records)

    async def _link(self, link_id: str) -> Record[IdentityLink] | None:
        return await self._records.get(_LINK, Key(f"IDENTITY#{link_id}", "IDENTITY"))

    async def _claim(self, join: _Join) -> Record[IdentityLink]:
        found = await self._link(join.link_id)
        if found is None:
            await self._create(join)
        elif found.message.user_id != join.kept:
            await self._point(found, join.kept, "identity.linked", primary=False)
        made = await self._link(join.link_id)
        assert made is not None
        return made

    async def _create(self, join: _Join) -> None:
        link = IdentityLink(
            link_id=join.link_id,
            user_id=join.kept,
            provider=join.moved.provider,
            issuer=join.moved.issuer,
            subject=join.moved.subject,
            email=join.moved.email,
            created_at=timestamp(self._kernel.now()),
            created_by=join.kept,
        )
        activity = Activity("identity.linked", f"identityLinks/{join.link_id}")
        await self._records.commit(
            f"IDENTITY#{join.link_id}", [Write(_LINK, link)], activity=activity
        )

    async def _point(
        self, base: Record[IdentityLink], user: str, kind: str, *, primary: bool
    ) -> None:
        link = base.edit()
        link.user_id, link.primary = user, primary
        activity = Activity(kind, f"identityLinks/{link.link_id}")
        await self._records.commit(base.key.pk, [Write(_LINK, link, base)], activity=activity)

    async def _answer_link(
        self, mutation: Mutation, join: _Join, link: Record[IdentityLink]
    ) -> LinkIdentityResponse:
        async def attempt() -> LinkIdentityResponse:
            user, head = await self._touched(join.kept)
            return await mutation.commit(
                user_pk(join.kept),
                [user],
                activity=Activity("user.identity_linked", f"users/{join.kept}"),
                answer=lambda records: LinkIdentityResponse(
                    identity_link=link.shown(), user=records[0].shown()
                ),
                if_head=head,
            )

        return await settle(mutation, user_pk(join.kept), LinkIdentityResponse, attempt)

    async def _answer_unlink(self, mutation: Mutation, join: _Join) -> UnlinkIdentityResponse:
        async def attempt() -> UnlinkIdentityResponse:
            user, head = await self._touched(join.kept)
            return await mutation.commit(
                user_pk(join.kept),
                [user],
                activity=Activity("user.identity_unlinked", f"users/{join.kept}"),
                answer=lambda records: UnlinkIdentityResponse(user=records[0].shown()),
                if_head=head,
            )

        return await settle(mutation, user_pk(join.kept), UnlinkIdentityResponse, attempt)

    async def _touched(self, user: str) -> tuple[Write[Any], Any]:
        head = await self._records.head(user_pk(user))
        base = await self._directory.user(user)
        assert base is not None
        changed = base.edit()
        self._stamp(changed)
        return Write(USER, changed, base), head

    async def _own_link(
        self, link_id: str, caller: Caller, other: Caller
    ) -> Record[IdentityLink]:
        link = await self._link(link_id)
        resource = f"identityLinks/{link_id}"
        mine = link is not None and link.message.user_id == caller.user_id
        # An interrupted call has moved the link already, and left the rest.
        left = (
            link is not None
            and link_id == _link_id(other)
            and (user := await self._directory.user(link.message.user_id)) is not None
            and user.message.linked_to_user_id == caller.user_id
        )
        if link is None or not (mine or left):
            raise permission_denied("unlink", resource)
        if _link_id(other) != link_id:
            raise invalid_field("other_token", "is of another identity; give the link's own token")
        if mine and link.message.primary:
            raise invalid_state(resource, "primary", "the first identity of a user stays")
        return link

    async def _retire(self, join: _Join) -> None:
        base = await self._directory.user(join.own_user)
        if base is None or base.message.linked_to_user_id == join.kept:
            return
        user = base.edit()
        user.status = UserStatus.USER_STATUS_DISABLED
        user.disabled_reason = _RETIRED
        user.disabled_at.CopyFrom(timestamp(self._kernel.now()))
        user.linked_to_user_id = join.kept
        await self._write(user, base, "user.retired")

    async def _revive(self, join: _Join) -> None:
        base = await self._directory.user(join.own_user)
        if base is None or base.message.linked_to_user_id != join.kept:
            return
        user = base.edit()
        user.status = UserStatus.USER_STATUS_ACTIVE
        for field in ("disabled_reason", "disabled_at", "linked_to_user_id"):
            user.ClearField(field)
        await self._write(user, base, "user.revived")

    async def _write(self, user: User, base: Record[User], kind: str) -> None:
        self._stamp(user)
        activity = Activity(kind, f"users/{user.user_id}")
        await self._records.commit(base.key.pk, [Write(USER, user, base)], activity=activity)

    def _stamp(self, user: User) -> None:
        user.updated_at.CopyFrom(timestamp(self._kernel.now()))
        user.updated_by = current_call().user_id


def _link_id(caller: Caller) -> str:
    return identity_hash(caller.issuer, caller.subject)
