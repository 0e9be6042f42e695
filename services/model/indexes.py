"""The base table and the four secondary indexes of the families table."""

from __future__ import annotations

from enum import Enum

__all__ = ["Index"]


class Index(Enum):
    """Value = number of the global secondary index (0: the base table)."""

    BASE = 0
    ACCOUNT = 1  # projects, members and teams of an account
    TEAM = 2  # grants to a team, projects of a team
    USER = 3  # memberships, grants, invitations of a user
    PROJECT = 4  # artifacts, write events, activity of a project
