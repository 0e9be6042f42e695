"""References to secrets, as a secret setting may hold one instead of the secret.

Their forms are in services/model/secret_references.py; everything else is a secret itself.
No SDK is needed for this module.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import Final

from services.model.errors import invalid_field
from services.model.secret_references import SECRET_REFERENCES

__all__ = ["Reference", "Service", "is_aws_reference", "keys_reference", "parse_reference"]


class Service(Enum):
    """Where a reference leads; the value is the service's name in references."""

    SECRETS_MANAGER = "secretsmanager"
    PARAMETER_STORE = "ssm"
    KEY_VAULT = "keyvault"
    APP_CONFIGURATION = "appconfig"
    ENVIRONMENT = "env"
    FILE = "file"


_AWS: Final = frozenset([Service.SECRETS_MANAGER, Service.PARAMETER_STORE])


@dataclass(frozen=True, slots=True)
class Reference:
    """`name` is a name, an ARN or a path, `member` one of the secret's JSON object ('': the
    whole text), `region` that of an ARN ('': the one of the settings).

    On Azure: `place` is the vault or store, `version` the version or the label ('': the
    newest, no label), `domain` what the host of a URL ends with ('': that of the settings).
    """

    service: Service
    name: str
    member: str = ""
    region: str = ""
    place: str = ""
    version: str = ""
    domain: str = ""

    def __str__(self) -> str:
        place = f"{self.place}/" if self.place else ""
        mark = "@" if self.service is Service.APP_CONFIGURATION else "/"
        version = f"{mark}{self.version}" if self.version else ""
        member = f"#{self.member}" if self.member else ""
        return f"{self.service.value}:{place}{self.name}{version}{member}"


def parse_reference(text: str) -> Reference | None:
    """The reference that a value is; None for a value that is none."""
    for service, patterns in SECRET_REFERENCES.items():
        for pattern in patterns:
            if found := pattern.fullmatch(text):
                members = {name: value or "" for name, value in found.groupdict().items()}
                return Reference(Service(service), **members)
    return None


def is_aws_reference(text: str) -> bool:
    """Whether a value leads to Secrets Manager or Parameter Store."""
    reference = parse_reference(text)
    return reference is not None and reference.service in _AWS


def keys_reference(text: str) -> Reference:
    """Where key files may be kept: in the whole of a secret that can be written. Raises
    INVALID_FIELD naming WM_KEYS_SECRET."""
    reference = parse_reference(text)
    if reference is not None and not reference.member:
        newest = reference.service is Service.KEY_VAULT and not reference.version
        if newest or reference.service in _AWS:
            return reference
    raise invalid_field(
        "WM_KEYS_SECRET",
        "must be `secretsmanager:NAME`, `ssm:/path` or the ARN of one, or `keyvault:VAULT/NAME`",
    )
