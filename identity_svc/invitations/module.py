"""Assembles InvitationService."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass

from workspace.identity.v1 import invitation_service_pb2_grpc
from workspace.project.v1 import grant_service_pb2_grpc, permission_service_pb2_grpc

from identity_svc.accounts.grant_cleanup import GrantCleanup
from identity_svc.directory import Directory
from identity_svc.invitations.acceptance import CLAIM_DUE, InvitationAcceptance
from identity_svc.invitations.invitations import Invitations
from identity_svc.invitations.lists import InvitationLists
from identity_svc.invitations.offers import AccountOffers, Offers, ProjectOffers, TeamOffers
from identity_svc.invitations.people import InvitationPeople
from identity_svc.invitations.rules import ACCOUNT_TARGET, PROJECT_TARGET, TEAM_TARGET
from identity_svc.invitations.tokens import InvitationTokens
from identity_svc.servicers.invitation import InvitationServicer
from identity_svc.teams.cleanup import TeamCleanup
from services.events.due import DueHandler
from services.kernel import Kernel, Peers, Registration
from services.rate_limits import RateLimiter

__all__ = ["InvitationParts", "invitation_parts"]


@dataclass(frozen=True, slots=True)
class InvitationParts:
    """The service and the due work that completes what it began."""

    registration: Registration
    due: Mapping[str, DueHandler]


def invitation_parts(kernel: Kernel, peers: Peers, directory: Directory) -> InvitationParts:
    """InvitationService on the stores of this process."""
    tokens = InvitationTokens(kernel.instance_key)
    offers = _offers(kernel, peers, directory)
    people = InvitationPeople(directory, offers)
    tries = RateLimiter("bad_invitations", maximum=10, period=60, now=time.monotonic)
    acceptance = InvitationAcceptance(kernel, directory, tokens, people, offers, tries)
    servicer = InvitationServicer(
        invitations=Invitations(kernel, directory, tokens, people, offers),
        lists=InvitationLists(kernel, directory, people),
        acceptance=acceptance,
    )
    registration = Registration(
        invitation_service_pb2_grpc.add_InvitationServiceServicer_to_server,
        servicer,
        "workspace.identity.v1.InvitationService",
    )
    return InvitationParts(registration, {CLAIM_DUE: acceptance.sweep})


def _offers(kernel: Kernel, peers: Peers, directory: Directory) -> Mapping[int, Offers]:
    channel = peers("project", asking="identity_svc")
    grants = grant_service_pb2_grpc.GrantServiceStub(channel)
    permissions = permission_service_pb2_grpc.PermissionServiceStub(channel)
    return {
        ACCOUNT_TARGET: AccountOffers(
            kernel, directory, TeamCleanup(kernel, directory), GrantCleanup(grants)
        ),
        TEAM_TARGET: TeamOffers(kernel, directory),
        PROJECT_TARGET: ProjectOffers(grants, permissions),
    }
