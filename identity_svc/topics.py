"""The notification topics that exist; a preference of another is refused."""

from __future__ import annotations

from typing import Final

__all__ = ["ACCOUNT_TOPICS", "USER_TOPICS"]

USER_TOPICS: Final = (
    "account.members",
    "grant.expiring",
    "invitation.answered",
    "invitation.received",
    "project.access_decided",
    "project.access_requested",
    "project.assigned",
    "project.orphaned",
    "project.shared",
    "sync.conflict",
    "team.members",
)
"""What a person can be told of, in the order shown."""

ACCOUNT_TOPICS: Final = (
    "account.members",
    "project.access_requested",
    "project.orphaned",
    "sync.conflict",
    "team.members",
)
"""What an account routes to people of its choice, in the order shown."""
