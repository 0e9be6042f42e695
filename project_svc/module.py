"""Assembles the services of this package from the kernel and the peers."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from workspace.identity.v1 import account_service_pb2_grpc, identity_service_pb2_grpc
from workspace.project.v1 import (
    grant_service_pb2_grpc,
    permission_service_pb2_grpc,
    project_service_pb2_grpc,
)
from workspace.storage.v1 import storage_service_pb2_grpc

from project_svc.access.candidates import Candidates
from project_svc.access.explain import Explanations
from project_svc.access.facts import FactsReader
from project_svc.access.freshness import Freshness, open_freshness
from project_svc.access.gate import Access
from project_svc.access.permissions import Permissions
from project_svc.access.visible import VisibleProjects
from project_svc.access.watch_permissions import PermissionWatch
from project_svc.documents.arrivals import Arrivals
from project_svc.documents.denormalised import Denormalised, RefreshingAssignments
from project_svc.documents.indexing import Indexing
from project_svc.documents.module import document_registrations
from project_svc.due_work import due_work
from project_svc.grants.access_requests import AccessRequests
from project_svc.grants.grants import Grants
from project_svc.grants.invited_grants import InvitedGrants
from project_svc.grants.member_grants import MemberGrants
from project_svc.grants.orphaned_projects import OrphanedProjects
from project_svc.grants.targets import GrantTargets
from project_svc.history.module import webhook_delivery
from project_svc.history.webhook_delivery import WEBHOOK_DELIVERY
from project_svc.policy import POLICY
from project_svc.previews.module import previews, project_users
from project_svc.projects.billing_scopes import BillingScopes
from project_svc.projects.homes import Homes
from project_svc.projects.projects import Projects
from project_svc.projects.purge import ProjectPurge
from project_svc.projects.trash import Trash
from project_svc.projects.trash_list import TrashList
from project_svc.servicers.grant import GrantServicer
from project_svc.servicers.permission import PermissionServicer
from project_svc.servicers.project import ProjectServicer
from services.kernel import Kernel, Peers, Registration, ServiceModule
from services.rate_limits import RateLimiter
from services.tokens.admission import UserAdmission

if TYPE_CHECKING:  # the generated classes exist for type checkers only
    from workspace.identity.v1.account_service_pb2_grpc import AccountServiceAsyncStub
    from workspace.identity.v1.identity_service_pb2_grpc import IdentityServiceAsyncStub
    from workspace.storage.v1.storage_service_pb2_grpc import StorageServiceAsyncStub

__all__ = ["build", "build_access"]

_ME = "project_svc"


def build_access(kernel: Kernel, peers: Peers, freshness: Freshness) -> Access:
    """The permission gate on its own."""
    facts = FactsReader(
        records=kernel.records,
        identity=_identity(peers),
        memberships=freshness.memberships,
        views=freshness.views,
        now=kernel.now,
    )
    return Access(facts=facts, now=kernel.now)


def build(kernel: Kernel, peers: Peers) -> ServiceModule:
    """The project services of one process."""
    freshness = open_freshness(kernel, _identity(peers))
    access = build_access(kernel, peers, freshness)
    indexing, arrivals = Indexing(kernel), Arrivals(kernel)
    registrations = [
        *_project_registrations(kernel, peers, access),
        *document_registrations(
            kernel, access, identity=_identity(peers), storage=_storage(peers), indexing=indexing
        ),
    ]
    webhooks = webhook_delivery(kernel)
    return ServiceModule(
        name=_ME,
        registrations=registrations,
        policy=POLICY,
        background=(*freshness.background, indexing.run),
        chores=(webhooks.run, arrivals.follower.run),
        due={
            **due_work(kernel, access, _storage(peers)),
            **arrivals.due,
            WEBHOOK_DELIVERY: webhooks.attempt,
        },
        consumers=(webhooks,),
    )


def _project_registrations(kernel: Kernel, peers: Peers, access: Access) -> list[Registration]:
    homes = Homes(facts=access.facts, accounts=_accounts(peers), identity=_identity(peers))
    visible = VisibleProjects(
        access=access,
        candidates=Candidates(kernel.records),
        identity=_identity(peers),
        page_tokens=kernel.page_tokens,
        consistency=kernel.consistency,
    )
    # What a servicer does not implement is not registered: gRPC answers UNIMPLEMENTED.
    projects = ProjectServicer(
        projects=Projects(kernel=kernel, access=access, homes=homes),
        assignments=RefreshingAssignments(
            denormalised=Denormalised(kernel.records), kernel=kernel, access=access, homes=homes
        ),
        trash=Trash(kernel=kernel, access=access),
        billing_scopes=BillingScopes(kernel.records),
        trash_list=TrashList(kernel=kernel, access=access, visible=visible),
        purge=ProjectPurge(kernel=kernel, access=access),
        visible=visible,
    )
    permissions = PermissionServicer(
        permissions=Permissions(
            access=access, consistency=kernel.consistency, records=kernel.records
        ),
        watch=PermissionWatch(
            kernel=kernel, access=access, admission=UserAdmission(kernel.records)
        ),
        visible=visible,
        users=project_users(kernel, access, _identity(peers)),
        explanations=Explanations(access=access, consistency=kernel.consistency),
    )
    targets = GrantTargets(facts=access.facts, identity=_identity(peers))
    grants = GrantServicer(
        Grants(kernel=kernel, access=access, targets=targets),
        MemberGrants(kernel=kernel, access=access),
        OrphanedProjects(kernel=kernel, access=access),
        InvitedGrants(kernel=kernel, access=access),
        AccessRequests(
            kernel=kernel, access=access, targets=targets,
            limiter=RateLimiter(
                "access_requests", maximum=10, period=60, now=time.monotonic
            ),
        ),
        *previews(kernel, access, homes, targets, visible, _identity(peers)),
    )
    return [
        Registration(
            project_service_pb2_grpc.add_ProjectServiceServicer_to_server,
            projects,
            "workspace.project.v1.ProjectService",
        ),
        Registration(
            grant_service_pb2_grpc.add_GrantServiceServicer_to_server,
            grants,
            "workspace.project.v1.GrantService",
        ),
        Registration(
            permission_service_pb2_grpc.add_PermissionServiceServicer_to_server,
            permissions,
            "workspace.project.v1.PermissionService",
        ),
    ]


def _identity(peers: Peers) -> IdentityServiceAsyncStub:
    return identity_service_pb2_grpc.IdentityServiceStub(peers("identity", asking=_ME))


def _storage(peers: Peers) -> StorageServiceAsyncStub:
    return storage_service_pb2_grpc.StorageServiceStub(peers("storage", asking=_ME))


def _accounts(peers: Peers) -> AccountServiceAsyncStub:
    return account_service_pb2_grpc.AccountServiceStub(peers("identity", asking=_ME))
