"""The forms of references to secrets: what a setting may hold instead of the secret.

    secretsmanager:NAME            secretsmanager:NAME#member (of a JSON object)
    ssm:/path/name                 ssm:name
    arn:aws:secretsmanager:REGION:ACCOUNT:secret:NAME-AbCdEf, with #member or not
    arn:aws:ssm:REGION:ACCOUNT:parameter/path/name
    keyvault:VAULT/NAME            keyvault:VAULT/NAME/VERSION#member
    https://VAULT.vault.azure.net/secrets/NAME, with /VERSION and #member or not
    appconfig:STORE/KEY            appconfig:STORE/KEY@LABEL#member
    env:NAME                       another variable of the environment
    file:/run/secrets/dsn          a file, with #member or not

Named groups: `name`; `member`; `region` of an ARN; `place`, `version` and `domain` of what
is on Azure: the vault or store, the version or label, what the host of a URL ends with.
Names: AWS, "CreateSecret", "PutParameter"; Microsoft Learn, "About keys, secrets and
certificates" and "Keys and values" of App Configuration.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

__all__ = ["SECRET_REFERENCES", "is_secret_reference"]

_MEMBER = r"(?:#(?P<member>[^#\s]{1,255}))?"
_VAULT = r"(?P<place>[A-Za-z][A-Za-z0-9-]{1,22}[A-Za-z0-9])"
_IN_VAULT = rf"(?P<name>[A-Za-z0-9-]{{1,127}})(?:/(?P<version>[A-Za-z0-9]{{1,32}}))?{_MEMBER}"
_DOMAINS = r"(?P<domain>vault\.azure\.net|vault\.usgovcloudapi\.net|vault\.azure\.cn)"

SECRET_REFERENCES: Final[Mapping[str, tuple[re.Pattern[str], ...]]] = MappingProxyType(
    {
        "secretsmanager": (
            re.compile(rf"secretsmanager:(?P<name>[A-Za-z0-9/_+=.@-]{{1,512}}){_MEMBER}"),
            re.compile(
                r"(?P<name>arn:[a-z0-9-]+:secretsmanager:(?P<region>[a-z0-9-]+):[0-9]{12}"
                rf":secret:[A-Za-z0-9/_+=.@-]{{1,512}}){_MEMBER}"
            ),
        ),
        "ssm": (
            re.compile(rf"ssm:(?P<name>[A-Za-z0-9/_.-]{{1,1011}}){_MEMBER}"),
            re.compile(
                r"(?P<name>arn:[a-z0-9-]+:ssm:(?P<region>[a-z0-9-]+):[0-9]{12}"
                rf":parameter/[A-Za-z0-9/_.-]{{1,1011}}){_MEMBER}"
            ),
        ),
        "keyvault": (
            re.compile(rf"keyvault:{_VAULT}/{_IN_VAULT}"),
            re.compile(rf"https://{_VAULT}\.{_DOMAINS}(?::443)?/secrets/{_IN_VAULT}/?"),
        ),
        "appconfig": (
            re.compile(
                r"appconfig:(?P<place>[A-Za-z0-9][A-Za-z0-9-]{3,48}[A-Za-z0-9])"
                r"/(?!\.{1,2}(?:[@#]|$))(?P<name>[^\s%@#]{1,1024})"
                rf"(?:@(?P<version>[^\s@#*,\\]{{1,255}}))?{_MEMBER}"
            ),
        ),
        "env": (re.compile(r"env:(?P<name>[A-Za-z_][A-Za-z0-9_]*)"),),
        "file": (re.compile(rf"file:(?P<name>/[^#\x00-\x1f]{{1,1023}}){_MEMBER}"),),
    }
)
"""By the service that has the secret."""


def is_secret_reference(text: str) -> bool:
    """Whether a value only says where a secret is."""
    return any(
        pattern.fullmatch(text) for patterns in SECRET_REFERENCES.values() for pattern in patterns
    )
