"""Membership facts in front of `IdentityService.BatchGetMemberships`.

A fact is kept by (user, scope) with the partition versions that identity gave;
the user's own status is a fact of the scope ''. An assembled view is remembered
under the full canonical request, for as long as nothing at all became stale.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from workspace.identity.v1.identity_service_pb2 import BatchGetMembershipsResponse

from project_svc.access.fact_cache import Cached, FactCache, Filling
from project_svc.access.user_view import ScopeFacts, UserView, scope_facts, scope_of, user_view
from services.model.membership_rows import affected_user, is_identity_partition
from services.records.port import Key
from services.rpc.consistency import Demand

__all__ = ["MembershipCache", "MembershipFilling", "Request"]

_MOST_FACTS = 50_000
_MOST_VIEWS = 5_000
_ITSELF = ""

Request = tuple[str, frozenset[str], frozenset[str]]
"""User, accounts and teams: the canonical form of what is asked."""
MembershipFilling = Filling[tuple[str, str], Any]


class MembershipCache:
    """See the module. `exact` and `drop_overtaken` as in FactCache."""

    def __init__(
        self,
        *,
        now: Callable[[], float],
        exact: bool,
        serve: bool = True,
        drop_overtaken: bool = True,
        most: int = _MOST_FACTS,
    ) -> None:
        self.facts: FactCache[tuple[str, str], Any] = FactCache(
            most=most, now=now, exact=exact, serve=serve, drop_overtaken=drop_overtaken
        )
        self._views: OrderedDict[Request, tuple[int, UserView]] = OrderedDict()

    def view(self, request: Request, demand: Demand) -> UserView | None:
        """The whole answer, when every fact of it may be used."""
        found = self._views.get(request)
        if found is not None and not demand.tokens and found[0] == self.facts.generation:
            return found[1] if self.facts.allows(demand) else None
        user_id, accounts, teams = request
        scopes = [f"ACCOUNT#{each}" for each in accounts] + [f"TEAM#{each}" for each in teams]
        status, known = self.known(user_id, scopes, demand)
        if status is None or len(known) < len(scopes):
            return None
        return self.remember(request, user_view(status, known.items()))

    def known(
        self, user_id: str, scopes: Sequence[str], demand: Demand
    ) -> tuple[int | None, Mapping[str, ScopeFacts]]:
        """Those facts that may be used: the user's status (None: read it), and
        of the scopes."""
        status = self.facts.get((user_id, _ITSELF), demand)
        found = {scope: self.facts.get((user_id, scope), demand) for scope in scopes}
        return status, {scope: facts for scope, facts in found.items() if facts is not None}

    def keep(
        self, filling: MembershipFilling, user_id: str, answer: BatchGetMembershipsResponse
    ) -> dict[str, ScopeFacts]:
        """Keep the facts of an answer; returns them by scope. Raises
        BACKEND_UNAVAILABLE when one of them could not be read."""
        began = answer.read_started_at.ToNanoseconds() / 1e9
        own = {each.partition: each.sequence for each in answer.user_partitions}
        filling.keep(
            (user_id, _ITSELF), Cached(int(answer.user_status), own, began, user_id)
        )
        found: dict[str, ScopeFacts] = {}
        for result in answer.results:
            scope = scope_of(result.scope)
            facts = found[scope] = scope_facts(result)
            partitions = {each.partition: each.sequence for each in facts.raw.partitions}
            # The user's status is in each of his facts.
            rests_on = {**own, **partitions} if partitions and own else {}
            filling.keep((user_id, scope), Cached(facts, rests_on, began, user_id))
        return found

    def remember(self, request: Request, view: UserView) -> UserView:
        """Note an assembled view of facts that are all in the cache now."""
        self._views[request] = (self.facts.generation, view)
        self._views.move_to_end(request)
        if len(self._views) > _MOST_VIEWS:
            self._views.popitem(last=False)
        return view

    def committed(self, pk: str, keys: Sequence[Key]) -> None:
        """A commit of this process is durable (`RecordStore.on_commit`)."""
        if is_identity_partition(pk):
            for key in keys:
                owner = affected_user(pk, key.sk)
                if owner is not None:
                    self.facts.invalidate(pk, owner)
