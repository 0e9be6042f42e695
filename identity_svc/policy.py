"""Who may call which RPC of this package at all; use cases decide the rest."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from services.kernel import Registration
from services.rpc.policy import PUBLIC, USER, Rule, service
from services.rpc.registration import registered_methods

__all__ = ["POLICY", "policy_of"]

_IDENTITY = "/workspace.identity.v1.IdentityService/"
_DECIDING = service("project_svc", "storage_svc", "sync_svc")
POLICY: Mapping[str, Rule] = {
    _IDENTITY + "IssueLocalToken": PUBLIC,  # the local secret stands for the bearer
    _IDENTITY + "ListMemberships": _DECIDING,
    _IDENTITY + "BatchGetMemberships": _DECIDING,
    _IDENTITY + "ResolveUser": service("project_svc"),
}
"""The rows that are not USER."""


def policy_of(registrations: Iterable[Registration]) -> dict[str, Rule]:
    """A row for every method served: those of POLICY, USER for all others."""
    methods = [
        method
        for registration in registrations
        for method in registered_methods(registration.add, registration.servicer)
    ]
    return {method: POLICY.get(method, USER) for method in methods}
