"""Who may call which RPC of this package at all; use cases decide the rest.

Services ask permission questions on their own account too; everything else
needs a person behind the call. A deployment registers what it implements, so a
row is made for every method that a servicer really has.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from project_svc.document_policy import DOCUMENT_POLICY
from services.kernel import Registration
from services.rpc.policy import USER, Rule, service, user_or_service
from services.rpc.registration import registered_methods

__all__ = ["ASKING_SERVICES", "POLICY", "policy_of"]

ASKING_SERVICES = frozenset({"identity_svc", "project_svc", "storage_svc", "sync_svc"})
"""Services that may ask about any user without `manage_access`."""

_PERMISSION = "/workspace.project.v1.PermissionService/"
_ASKED_BY_SERVICES = user_or_service(*sorted(ASKING_SERVICES))
POLICY: Mapping[str, Rule] = {
    _PERMISSION + "CheckPermission": _ASKED_BY_SERVICES,
    _PERMISSION + "BatchCheckPermissions": _ASKED_BY_SERVICES,
    _PERMISSION + "GetEffectivePermissions": _ASKED_BY_SERVICES,
    _PERMISSION + "ListAccessibleProjects": _ASKED_BY_SERVICES,
    "/workspace.project.v1.GrantService/RevokeMemberGrants": service("identity_svc"),
    # Documents and history.
    **DOCUMENT_POLICY,
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
