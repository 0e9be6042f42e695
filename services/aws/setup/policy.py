"""The policy of the bucket: ours beside what is there, and whether that is public.

The rules are those of IAM JSON policy elements. Any condition narrows a statement
for us; S3 itself tells the rest (`GetBucketPolicyStatus`).
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from services.aws.setup.desired import POLICY_SID
from services.setup.patience import refused

__all__ = ["is_public", "parsed", "refuses_plain", "statements_of", "with_statement"]

Policy = Mapping[str, Any]
_EMPTY: Policy = {"Version": "2012-10-17", "Statement": []}


def parsed(text: str | None) -> Policy:
    """The policy, one without statements for None."""
    if text is None:
        return _EMPTY
    try:
        policy: Policy = json.loads(text)
    except ValueError:
        raise refused("the policy of the bucket cannot be read as JSON; mend it") from None
    return policy


def refuses_plain(policy: Policy, wanted: Mapping[str, Any]) -> bool:
    """Whether a statement does what `wanted` does, under any name."""
    return any(_same(statement, wanted) for statement in statements_of(policy))


def with_statement(policy: Policy, wanted: Mapping[str, Any]) -> str:
    """The policy with `wanted` in place of an earlier one of ours, as JSON."""
    others = [each for each in statements_of(policy) if each.get("Sid") != POLICY_SID]
    version = policy.get("Version", "2012-10-17")
    return json.dumps({**policy, "Version": version, "Statement": [*others, wanted]})


def is_public(policy: Policy) -> bool:
    """Whether a statement allows something to everybody, unconditionally."""
    return any(
        statement.get("Effect") == "Allow"
        and _is_everybody(statement.get("Principal"))
        and not statement.get("Condition")
        for statement in statements_of(policy)
    )


def statements_of(policy: Policy) -> list[Mapping[str, Any]]:
    """The statements; a single one need not be in a list."""
    found = policy.get("Statement", [])
    return [found] if isinstance(found, Mapping) else list(found)


def _same(statement: Mapping[str, Any], wanted: Mapping[str, Any]) -> bool:
    plain = {key: value for key, value in statement.items() if key not in ("Sid", "Principal")}
    other = {key: value for key, value in wanted.items() if key not in ("Sid", "Principal")}
    everybody = _is_everybody(statement.get("Principal"))
    return everybody and _normal(plain) == _normal(other)


def _normal(value: Any) -> Any:
    """One text and a list of it mean the same, and the order of a list means nothing."""
    if isinstance(value, Mapping):
        return {key: _normal(inner) for key, inner in value.items()}
    texts = value if isinstance(value, list) else [value]
    return sorted(str(text).lower() if isinstance(text, bool) else str(text) for text in texts)


def _is_everybody(principal: Any) -> bool:
    if isinstance(principal, Mapping):
        principal = principal.get("AWS")
    return "*" in (principal if isinstance(principal, list) else [principal])
