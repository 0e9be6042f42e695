"""Answers of identity_svc about memberships are for the question that was asked, or none.

What they say is kept and decides what somebody may do: an answer about another person that
was mixed up on its way would lend his rights. (reliability.md S07.)
"""

from __future__ import annotations

import logging
from collections.abc import Sequence

from workspace.identity.v1.identity_service_pb2 import BatchGetMembershipsResponse

from project_svc.access.user_view import scope_of
from services.model.errors import Reason, WorkspaceError
from services.model.membership_rows import USER

__all__ = ["require_about"]

_LOG = logging.getLogger(__name__)


def require_about(
    answer: BatchGetMembershipsResponse, user_id: str, scopes: Sequence[str]
) -> None:
    """`scopes` (`ACCOUNT#a_1`, `TEAM#t_1`) are those asked for, in order. The facts name the
    partitions that they rest on: of people only the user's own. Raises BACKEND_UNAVAILABLE."""
    people = {each.partition for each in answer.user_partitions if each.partition.startswith(USER)}
    answered = [scope_of(each.scope) for each in answer.results]
    if people <= {USER + user_id} and answered == list(scopes):
        return
    _LOG.error("identity_svc answered about somebody or something else than was asked")
    raise WorkspaceError(
        Reason.ERROR_REASON_BACKEND_UNAVAILABLE,
        "The identity service gave no answer to this question; repeat the call.",
        metadata={"backend": "identity"},
    )
