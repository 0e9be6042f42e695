"""Secrets of AWS Secrets Manager (API reference: GetSecretValue, PutSecretValue)."""

from __future__ import annotations

import uuid
from typing import Final

from services.aws.clients import AwsClients
from services.secrets.aws_calls import ask, code_of
from services.secrets.port import SecretMissing, SecretProblem, SecretValue
from services.secrets.reference import Reference

__all__ = ["SecretsManager"]

_SERVICE: Final = "secretsmanager"
_EXISTS: Final = "ResourceExistsException"
_FIRST: Final = str(uuid.uuid5(uuid.NAMESPACE_URL, "urn:workspace-management:first-keys"))
"""The version id of every first value. A version never changes, so of two first values
only one is taken: that is what makes `create` safe without a condition."""
_TRIES: Final = 3


class SecretsManager:
    """Reads `AWSCURRENT`. What is binary is no text."""

    def __init__(self, clients: AwsClients) -> None:
        self._clients = clients

    async def read(self, reference: Reference) -> SecretValue:
        answer = await ask(
            self._clients, _SERVICE, "get_secret_value", SecretId=reference.name
        )
        text = answer.get("SecretString")
        if text is None:
            raise SecretProblem("is binary: store it as text (SecretString)")
        return SecretValue(text, str(answer.get("VersionId", "")))

    async def create(self, reference: Reference, text: str) -> bool:
        """For a secret that exists without a value (a template made it), and for none."""
        for _ in range(_TRIES):
            try:
                return await self._first(reference, text)
            except SecretMissing:
                if reference.name.startswith("arn:"):
                    raise
            try:
                await ask(
                    self._clients, _SERVICE, "create_secret", Name=reference.name,
                    SecretString=text, ClientRequestToken=_FIRST,
                    Description="key files of a workspace: whoever has them signs as it",
                )  # fmt: skip
            except SecretProblem as problem:
                if code_of(problem) != _EXISTS:
                    raise
            else:
                return True
        return False

    async def replace(self, reference: Reference, text: str) -> None:
        await self._put(reference, text, token=str(uuid.uuid4()))

    async def _first(self, reference: Reference, text: str) -> bool:
        try:
            await self._put(reference, text, token=_FIRST)
        except SecretProblem as problem:
            if code_of(problem) != _EXISTS:
                raise
            return False
        return True

    async def _put(self, reference: Reference, text: str, *, token: str) -> None:
        await ask(
            self._clients, _SERVICE, "put_secret_value", SecretId=reference.name,
            SecretString=text, ClientRequestToken=token,
        )  # fmt: skip
