"""Assembles the lists and previews of who may do what."""

from __future__ import annotations

from typing import TYPE_CHECKING

from project_svc.access.candidate_users import CandidateUsers
from project_svc.access.candidates import Candidates
from project_svc.access.gate import Access
from project_svc.access.project_users import ProjectUsers
from project_svc.access.visible import VisibleProjects
from project_svc.grants.grants import Grants
from project_svc.grants.member_grants import MemberGrants
from project_svc.grants.targets import GrantTargets
from project_svc.previews.changes import ChangeTrials
from project_svc.previews.memberships import MembershipPreview
from project_svc.previews.preview import AccessPreview
from project_svc.projects.assignment import Assignments
from project_svc.projects.homes import Homes
from project_svc.projects.projects import Projects
from services.kernel import Kernel
from services.records.trial import trial_kernel

if TYPE_CHECKING:  # the generated class exists for type checkers only
    from workspace.identity.v1.identity_service_pb2_grpc import IdentityServiceAsyncStub

__all__ = ["previews", "project_users"]


def project_users(
    kernel: Kernel, access: Access, identity: IdentityServiceAsyncStub
) -> ProjectUsers:
    """The use case of ListProjectUsers."""
    return ProjectUsers(
        access=access,
        candidates=CandidateUsers(identity),
        page_tokens=kernel.page_tokens,
        consistency=kernel.consistency,
    )


def previews(
    kernel: Kernel,
    access: Access,
    homes: Homes,
    targets: GrantTargets,
    visible: VisibleProjects,
    identity: IdentityServiceAsyncStub,
) -> tuple[AccessPreview, MembershipPreview]:
    """The use cases of PreviewAccessChange and PreviewMembershipChange."""
    trial, page_tokens = trial_kernel(kernel), kernel.page_tokens
    trials = ChangeTrials(
        grants=Grants(kernel=trial, access=access, targets=targets),
        assignments=Assignments(kernel=trial, access=access, homes=homes),
        projects=Projects(kernel=trial, access=access, homes=homes),
        of_members=MemberGrants(kernel=trial, access=access),
        identity=identity,
    )
    return (
        AccessPreview(
            access=access,
            trials=trials,
            candidates=CandidateUsers(identity),
            page_tokens=page_tokens,
        ),
        MembershipPreview(
            access=access,
            trials=trials,
            candidates=Candidates(kernel.records),
            visible=visible,
            page_tokens=page_tokens,
        ),
    )
