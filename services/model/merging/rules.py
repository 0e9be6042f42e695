"""Fields that are merged otherwise than one by one, family by family.

A rule names fields that belong together and come from one version. If several
versions lead (`sides.leading`) and differ in a field of `by`, the more restrictive
holds at once and people decide (a contest of kind `policy`). Fields without a rule
are merged one by one.

| family | together | the more restrictive |
|---|---|---|
| project, document | status with trashed_at, trashed_by, status_before_trash, purge_after | purged, trashed, (scanning,) archived, (awaiting file,) active |
| project | account_id, team_id, workspace_id | none: the winner's home; `restricted` is shown set, so that the fallback gives nothing |
| project | restricted; legal_hold with its reason | set |
| project, account | visibility | private, team, account |
| project, document, account | classification | the higher |
| account | status with its reason and times | purged, suspended by the platform, suspended, archived, active |
| account | owner_user_id; legal_hold; quotas | the winner's; set; the lower |
| team | status with archived_*; root_admin_user_id with owner_user_id | archived; the winner's |
| derived artifact | status with superseded_by | purged, scanning, awaiting file, superseded, available |
| grant | permissions, expires_at | what all give; the earlier |
| grant | status with revoked_*, revoke_reason | revoked |
| grant | target | none: nothing is given |
| access request | status with decided_*, decision_note; permissions | declined, pending, approved; what all ask |
| account member | role, permissions, status with status_changed_* | the lower; what all give; removed, suspended, invited, active |
| team member | role, status, guest | the lower; as above; no guest |
| invitation | status with resolved_*, claimed_* | revoked, declined, accepted, claimed, pending |
| invitation | target, terms, addressee | none: it is revoked |
| invitation | expires_at; generation | the earlier; the higher |
| identity link | user_id | the winner's |
| user | status with its circumstances | erased, disabled, active |
| user | tokens_not_before; email with email_verified | the later; the later write |

Accepting and revoking an invitation on two nodes shows it revoked: no sweep completes
it any more, and what it gave stays with its grant or membership, which are records of
their own, until a person decides. A pending access request gives nothing, so between
one approved and one still open there is nothing to take away; the grant decides.
"""  # noqa: E501 - a table

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from services.model.merging.orders import (
    Content,
    Rank,
    common_items,
    common_permissions,
    earlier,
    later,
    listed,
    lower_limit,
    when,
    when_not,
)

__all__ = ["BIRTH", "DELETED_STATUSES", "ENDED_STATUSES", "RULES", "Rule", "policy_fields"]

Meet = Callable[[Sequence[Any]], Any]

DELETED_STATUSES: Final = frozenset(
    {
        "PROJECT_STATUS_TRASHED", "PROJECT_STATUS_PURGED",
        "DOCUMENT_STATUS_TRASHED", "DOCUMENT_STATUS_PURGED",
        "DERIVED_ARTIFACT_STATUS_PURGED",
    }
)
"""States that stand for a deletion: an edit beside it is an edit of what is gone."""

ENDED_STATUSES: Final = DELETED_STATUSES | {"GRANT_STATUS_REVOKED", "MEMBER_STATUS_REMOVED"}
"""And rights that were taken away: they are gone at once, but who edited them meanwhile
meant that they stay, so people decide."""


@dataclass(frozen=True, slots=True)
class Rule:
    """`by` are the fields that decide, `along` come with them from the same version.
    `rank` picks the version (None: the winner among those that lead), `meet` makes
    one value of several of the one field in `by`. While they are contested `closes`
    gives further fields the values that give nothing. `silent`: the later write
    holds, and nobody is asked."""

    by: tuple[str, ...]
    along: tuple[str, ...] = ()
    rank: Rank | None = None
    meet: Meet | None = None
    closes: Mapping[str, Any] = field(default_factory=dict)
    silent: bool = False

    @property
    def names(self) -> tuple[str, ...]:
        """All fields of the rule."""
        return (*self.by, *self.along)


def policy_fields(family: str) -> frozenset[str]:
    """Fields of a family that decide about rights or existence: a conflict about one
    of them is not for everybody who may write."""
    return frozenset(n for rule in RULES.get(family, ()) if not rule.silent for n in rule.names)


def _ranked(*along: str, by: str, rank: Rank) -> Rule:
    return Rule((by,), along, rank)


def _one(rank: Callable[[str], Rank], name: str, *along: str) -> Rule:
    return Rule((name,), along, rank(name))


def _classified(name: str) -> Rule:
    values = ("PUBLIC", "", "INTERNAL", "CONFIDENTIAL", "RESTRICTED")
    return _ranked(by=name, rank=listed(name, *values, prefix="CLASSIFICATION_"))


def _visible(name: str) -> Rule:
    return _ranked(by=name, rank=listed(name, "ACCOUNT", "TEAM", "", "PRIVATE",
                                        prefix="VISIBILITY_"))


_TRASH: Final = ("trashed_at", "trashed_by", "status_before_trash", "purge_after")
_MEMBER: Final = _ranked(
    "status_changed_at", "status_changed_by", by="status",
    rank=listed("status", "ACTIVE", "INVITED", "", "SUSPENDED", "REMOVED",
                prefix="MEMBER_STATUS_"),
)


def _account_rank(content: Content) -> Any:
    status = listed("status", "ACTIVE", "", "ARCHIVED", "SUSPENDED", prefix="ACCOUNT_STATUS_")
    return ("purged_at" in content, bool(content.get("suspended_by_platform")), status(content),
            "purge_at" in content)


RULES: Final[Mapping[str, tuple[Rule, ...]]] = {
    "project": (
        _ranked(*_TRASH, by="status", rank=listed(
            "status", "ACTIVE", "", "ARCHIVED", "TRASHED", "PURGED", prefix="PROJECT_STATUS_")),
        _one(when, "restricted"),
        Rule(("account_id", "team_id", "workspace_id"), closes={"restricted": True}),
        _one(when, "legal_hold", "legal_hold_reason"),
        _visible("visibility"),
        _classified("data_classification"),
    ),
    "document": (
        _ranked(*_TRASH, by="status", rank=listed(
            "status", "AVAILABLE", "", "AWAITING_FILE", "ARCHIVED", "SCANNING", "TRASHED",
            "PURGED", prefix="DOCUMENT_STATUS_")),
        _classified("classification"),
    ),
    "derived_artifact": (
        _ranked("superseded_by", by="status", rank=listed(
            "status", "AVAILABLE", "", "SUPERSEDED", "AWAITING_FILE", "SCANNING", "PURGED",
            prefix="DERIVED_ARTIFACT_STATUS_")),
    ),
    "account": (
        Rule(("status", "suspended_by_platform", "purge_at", "purged_at"),
             ("status_reason", "status_changed_at"), _account_rank),
        Rule(("owner_user_id",)),
        _one(when, "legal_hold"),
        _classified("data_classification"),
        _visible("default_project_visibility"),
        _one(lower_limit, "quota_bytes"),
        _one(lower_limit, "quota_documents"),
    ),
    "team": (
        _ranked("archived_at", "archived_by", by="status", rank=listed(
            "status", "ACTIVE", "", "ARCHIVED", prefix="TEAM_STATUS_")),
        Rule(("root_admin_user_id",), ("owner_user_id",)),
    ),
    "project_grant": (
        Rule(("permissions",), meet=common_permissions),
        _one(earlier, "expires_at"),
        _ranked("revoked_by", "revoked_at", "revoke_reason", by="status", rank=listed(
            "status", "ACTIVE", "", "REVOKED", prefix="GRANT_STATUS_")),
        Rule(("project_id", "target_type", "target_id"), closes={"permissions": []}),
    ),
    "access_request": (
        Rule(("permissions",), meet=common_permissions),
        _ranked("decided_by", "decided_at", "decision_note", by="status", rank=listed(
            "status", "APPROVED", "", "PENDING", "DECLINED", prefix="ACCESS_REQUEST_STATUS_")),
    ),
    "account_member": (
        _ranked(by="role", rank=listed(
            "role", "OWNER", "ACCOUNT_ADMIN", "ADMINISTRATOR", "EDITOR", "VIEWER", "",
            prefix="ACCOUNT_ROLE_")),
        Rule(("permissions",), meet=common_items),
        _MEMBER,
    ),
    "team_member": (
        _ranked(by="role", rank=listed(
            "role", "ADMIN", "MEMBER", "VIEWER", "", prefix="TEAM_ROLE_")),
        _one(when_not, "guest"),
        _MEMBER,
    ),
    "invitation": (
        _ranked("resolved_by", "resolved_at", "claimed_by", "claimed_at", by="status", rank=listed(
            "status", "PENDING", "CLAIMED", "ACCEPTED", "", "DECLINED", "REVOKED",
            prefix="INVITATION_STATUS_")),
        _one(earlier, "expires_at"),
        Rule(("generation",), ("issued_at",), lambda content: int(content.get("generation", 0))),
        Rule(
            ("target_type", "target_id", "terms", "email", "anyone_with_link",
             "grantee_team_id", "grantee_account_id"),
            closes={"status": "INVITATION_STATUS_REVOKED"},
        ),
    ),
    "identity_link": (Rule(("user_id",)),),
    "user": (
        _ranked("disabled_at", "disabled_reason", "erased_at", "linked_to_user_id", by="status",
                rank=listed("status", "ACTIVE", "", "DISABLED", "ERASED", prefix="USER_STATUS_")),
        Rule(("tokens_not_before",), rank=later("tokens_not_before"), silent=True),
        Rule(("email", "email_verified"), silent=True),
    ),
}

BIRTH: Final = Rule(("created_at",), ("created_by",), rank=earlier("created_at"), silent=True)
"""Of every family: what was made on two nodes, as a person's own account is at the
first sign-in on each, is as old as the first of them, and nobody is asked."""
