"""References to secrets, as a secret setting may hold one instead of the secret.

    secretsmanager:NAME            secretsmanager:NAME#member (of a JSON object)
    ssm:/path/name                 ssm:name
    arn:aws:secretsmanager:REGION:ACCOUNT:secret:NAME-AbCdEf, with #member or not
    arn:aws:ssm:REGION:ACCOUNT:parameter/path/name
    env:NAME                       another variable of the environment

Everything else is a secret itself. No SDK is needed for this module.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import Enum
from typing import Final

__all__ = ["Reference", "Service", "is_aws_reference", "parse_reference"]


class Service(Enum):
    """Where a reference leads; the value is the service's name in the SDK."""

    SECRETS_MANAGER = "secretsmanager"
    PARAMETER_STORE = "ssm"
    ENVIRONMENT = "env"


@dataclass(frozen=True, slots=True)
class Reference:
    """`name` is a name or an ARN, `member` one of the secret's JSON object ('': the
    whole text), `region` that of an ARN ('': the one of the settings)."""

    service: Service
    name: str
    member: str = ""
    region: str = ""

    def __str__(self) -> str:
        member = f"#{self.member}" if self.member else ""
        return f"{self.service.value}:{self.name}{member}"


_MEMBER = r"(?:#(?P<member>[^#\s]{1,255}))?"
_PATTERNS: Final = (
    (
        Service.SECRETS_MANAGER,
        re.compile(rf"secretsmanager:(?P<name>[A-Za-z0-9/_+=.@-]{{1,512}}){_MEMBER}"),
    ),
    (
        Service.SECRETS_MANAGER,
        re.compile(
            r"(?P<name>arn:[a-z0-9-]+:secretsmanager:(?P<region>[a-z0-9-]+):[0-9]{12}"
            rf":secret:[A-Za-z0-9/_+=.@-]{{1,512}}){_MEMBER}"
        ),
    ),
    (
        Service.PARAMETER_STORE,
        re.compile(rf"ssm:(?P<name>[A-Za-z0-9/_.-]{{1,1011}}){_MEMBER}"),
    ),
    (
        Service.PARAMETER_STORE,
        re.compile(
            r"(?P<name>arn:[a-z0-9-]+:ssm:(?P<region>[a-z0-9-]+):[0-9]{12}"
            rf":parameter/[A-Za-z0-9/_.-]{{1,1011}}){_MEMBER}"
        ),
    ),
    (Service.ENVIRONMENT, re.compile(r"env:(?P<name>[A-Za-z_][A-Za-z0-9_]*)")),
)


def parse_reference(text: str) -> Reference | None:
    """The reference that a value is; None for a value that is none."""
    for service, pattern in _PATTERNS:
        found = pattern.fullmatch(text)
        if found is not None:
            members = found.groupdict()
            return Reference(
                service, members["name"], members.get("member") or "", members.get("region") or ""
            )
    return None


def is_aws_reference(text: str) -> bool:
    """Whether a value leads to Secrets Manager or Parameter Store."""
    reference = parse_reference(text)
    return reference is not None and reference.service is not Service.ENVIRONMENT
