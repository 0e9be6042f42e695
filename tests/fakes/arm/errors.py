"""Refusals, as Resource Manager gives them ("Common error codes")."""

from __future__ import annotations

__all__ = ["Refused", "absent_resource", "bad"]


class Refused(Exception):
    """An answer that is an error."""

    def __init__(self, status: int, code: str, message: str = "") -> None:
        super().__init__(message or code)
        self.status = status
        self.code = code
        self.message = message or code


def bad(message: str) -> Refused:
    """What Cosmos DB says of nearly everything."""
    return Refused(400, "BadRequest", message)


def absent_resource(path: str) -> Refused:
    return Refused(404, "ResourceNotFound", f"The Resource '{path}' was not found.")
