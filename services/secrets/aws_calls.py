"""Calls to the secret services of AWS, and what their failures mean for a secret.

Reading is repeated when the service is busy; so is writing, whose calls have the same
effect however often they are sent.
"""

from __future__ import annotations

from typing import Any, Final

from services.aws.clients import AwsClients

# After the clients: without the SDK those say how to install it.
from services.aws.failures import Failure, Kind, failure_of
from services.secrets.port import SecretMissing, SecretProblem
from services.secrets.trying import tried

__all__ = ["ask", "code_of"]

_DELETED: Final = "InvalidRequestException"
_KEY_CODES: Final = frozenset(
    ["DecryptionFailure", "EncryptionFailure", "InvalidKeyId", "KMSAccessDeniedException"]
)


async def ask(
    clients: AwsClients, service: str, operation: str, **parameters: Any
) -> dict[str, Any]:
    """One call, repeated a few times while the service is busy. Raises SecretMissing and
    SecretProblem; the code of the service is in `code_of`."""
    return await tried(
        lambda: clients.call(service, operation, **parameters),
        lambda error: _problem(failure_of(error, service, operation)),
    )


def code_of(problem: SecretProblem) -> str:
    """The service's error code behind a problem; '' for none."""
    response = getattr(problem.__cause__, "response", {})
    return str(response.get("Error", {}).get("Code", ""))


def _problem(failure: Failure) -> SecretProblem:
    if failure.kind is Kind.MISSING:
        return SecretMissing(
            "does not exist, or has no value: make it, or name another (what `wm setup aws` "
            "and the templates of deploy/aws make is listed by their outputs)",
            action=failure.action,
        )
    text = f"cannot be had: {failure}"
    if failure.kind is Kind.DENIED:
        text += "; a secret under a key of your own needs kms:Decrypt on that key, too"
    elif failure.code in _KEY_CODES:
        text += "; allow kms:Decrypt on the key of the secret, and enable that key"
    elif failure.code == _DELETED:
        text += ", for example because it is to be deleted: restore it, or name another"
    return SecretProblem(text, action=failure.action, passing=failure.passing)
