"""The one exception that crosses layers: a reason, a message for people, metadata.

Reasons are those of `workspace/common/v1/error_reason.proto`; which status code
a reason has is decided at the edge (`services/rpc/errors.py`), not here.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from workspace.common.v1.error_reason_pb2 import ErrorReason

__all__ = ["FieldViolation", "Reason", "WorkspaceError", "invalid_field", "permission_denied"]

Reason = ErrorReason


@dataclass(frozen=True, slots=True)
class FieldViolation:
    """One bad field of a request: its path and what is wrong with it."""

    field: str
    description: str


class WorkspaceError(Exception):
    """A failure with a documented reason. Its text may be shown to the caller.

    `retry_after` is in seconds and becomes `google.rpc.RetryInfo`.
    """

    def __init__(
        self,
        reason: ErrorReason.ValueType,
        message: str,
        *,
        metadata: Mapping[str, str] | None = None,
        violations: Sequence[FieldViolation] = (),
        retry_after: float | None = None,
    ) -> None:
        super().__init__(message)
        self.reason = reason
        self.message = message
        self.metadata = dict(metadata or {})
        self.violations = tuple(violations)
        self.retry_after = retry_after


def invalid_field(field: str, description: str) -> WorkspaceError:
    """INVALID_ARGUMENT that names the field and the remedy."""
    return WorkspaceError(
        Reason.ERROR_REASON_INVALID_FIELD,
        f"{field}: {description}",
        metadata={"field": field},
        violations=[FieldViolation(field, description)],
    )


def permission_denied(permission: str, resource: str) -> WorkspaceError:
    """The one answer for absent and for forbidden (AIP-211)."""
    return WorkspaceError(
        Reason.ERROR_REASON_PERMISSION_DENIED,
        f"Permission '{permission}' denied on '{resource}' (or it might not exist).",
        metadata={"permission": permission, "resource": resource},
    )
