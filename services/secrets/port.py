"""What a place that keeps secrets has to do."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Protocol

from services.secrets.reference import Reference

__all__ = ["ReadOnlyStore", "SecretMissing", "SecretProblem", "SecretStore", "SecretValue"]


@dataclass(frozen=True, slots=True)
class SecretValue:
    """The text of a secret, kept out of repr(), and the id of its version."""

    text: str = field(repr=False)
    version: str


class SecretProblem(Exception):
    """Why a secret cannot be had, as the end of a sentence about it, with the remedy.
    `action` is the IAM action of the call, `role` the role of Azure that allows it;
    `passing`: a later try may help, after `pause` seconds."""

    def __init__(
        self,
        problem: str,
        *,
        action: str = "",
        role: str = "",
        passing: bool = False,
        pause: float = 0.0,
    ) -> None:
        super().__init__(problem)
        self.action = action
        self.role = role
        self.passing = passing
        self.pause = pause


class SecretMissing(SecretProblem):
    """There is no such secret, or it has no value yet."""


class SecretStore(Protocol):
    """`create` and `replace` are for key files alone; other secrets are only read."""

    async def read(self, reference: Reference) -> SecretValue:
        """The current value. Raises SecretMissing, SecretProblem."""
        ...

    async def create(self, reference: Reference, text: str) -> bool:
        """Give it its first value; False when it has one: of callers at once, one gets
        True. Raises SecretProblem."""
        ...

    async def replace(self, reference: Reference, text: str) -> None:
        """Give it another value. Raises SecretMissing, SecretProblem."""
        ...


class ReadOnlyStore:
    """The half of a store whose secrets are only read."""

    async def create(self, reference: Reference, text: str) -> bool:  # noqa: ARG002
        raise SecretProblem("cannot be written: name a secret of Secrets Manager or Key Vault")

    async def replace(self, reference: Reference, text: str) -> None:
        await self.create(reference, text)
