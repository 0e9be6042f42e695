"""Secrets in the environment: `env:NAME`."""

from __future__ import annotations

import os
from collections.abc import Mapping

from services.secrets.port import ReadOnlyStore, SecretMissing, SecretValue
from services.secrets.reference import Reference

__all__ = ["EnvironmentSecrets"]


class EnvironmentSecrets(ReadOnlyStore):
    """Reads variables of this process; writes none."""

    def __init__(self, variables: Mapping[str, str] = os.environ) -> None:
        self._variables = variables

    async def read(self, reference: Reference) -> SecretValue:
        text = self._variables.get(reference.name)
        if text is None:
            raise SecretMissing("is not set: set the variable, or name another secret")
        return SecretValue(text, "")
