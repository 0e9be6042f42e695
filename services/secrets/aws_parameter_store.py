"""Secrets of AWS Systems Manager Parameter Store (GetParameter, PutParameter)."""

from __future__ import annotations

import logging
from typing import Final

from services.aws.clients import AwsClients
from services.secrets.aws_calls import ask, code_of
from services.secrets.port import SecretMissing, SecretProblem, SecretValue
from services.secrets.reference import Reference

__all__ = ["ParameterStore"]

_SERVICE: Final = "ssm"
_EXISTS: Final = "ParameterAlreadyExists"
_STANDARD_BYTES: Final = 4096
_log = logging.getLogger("workspace.secrets")


class ParameterStore:
    """Reads with decryption, writes SecureString."""

    def __init__(self, clients: AwsClients) -> None:
        self._clients = clients

    async def read(self, reference: Reference) -> SecretValue:
        answer = await ask(
            self._clients, _SERVICE, "get_parameter", Name=reference.name, WithDecryption=True
        )
        parameter = answer["Parameter"]
        if parameter.get("Type") != "SecureString":
            _log.warning("the parameter %s is not encrypted: make it a SecureString", reference)
        return SecretValue(str(parameter.get("Value", "")), str(parameter.get("Version", "")))

    async def create(self, reference: Reference, text: str) -> bool:
        try:
            await self._put(reference, text, overwrite=False)
        except SecretProblem as problem:
            if code_of(problem) != _EXISTS:
                raise
            return False
        return True

    async def replace(self, reference: Reference, text: str) -> None:
        await self._put(reference, text, overwrite=True)

    async def _put(self, reference: Reference, text: str, *, overwrite: bool) -> None:
        if reference.name.startswith("arn:"):
            raise SecretMissing("cannot be written by its ARN: name it as `ssm:/path`")
        if len(text.encode()) > _STANDARD_BYTES:
            raise SecretProblem("would be too large for it (4 KB): use Secrets Manager")
        await ask(
            self._clients, _SERVICE, "put_parameter", Name=reference.name, Value=text,
            Type="SecureString", Overwrite=overwrite,
        )  # fmt: skip
