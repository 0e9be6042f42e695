"""Where on AWS: a region, a profile, the endpoints of compatible servers; and as whom."""

from __future__ import annotations

from dataclasses import dataclass, field

__all__ = ["AwsKeys", "AwsPlace"]


@dataclass(frozen=True, slots=True)
class AwsKeys:
    """Credentials that somebody named, instead of the chain of the SDK. Never shown."""

    access_key_id: str = field(repr=False)
    secret_access_key: str = field(repr=False)
    session_token: str = field(default="", repr=False)


@dataclass(frozen=True, slots=True)
class AwsPlace:
    """`profile` names credentials of the AWS configuration; '' takes the chain of the
    SDK: environment, web identity, container, instance.

    `endpoints` are URLs by service (`s3`, `dynamodb`, ...) of servers that speak the
    protocol and are not AWS; `endpoint` is for services that are not named.
    `public_endpoints` are the URLs at which others reach those servers, where these are
    not the ones by which we do: what is signed for others is signed for them.
    `call_seconds` bounds one attempt of a call, connecting included.
    """

    region: str
    profile: str = ""
    endpoint: str = ""
    endpoints: dict[str, str] = field(default_factory=dict)
    call_seconds: float = 10.0
    public_endpoints: dict[str, str] = field(default_factory=dict)

    def endpoint_of(self, service: str) -> str | None:
        """The URL of a service; None: the one of AWS."""
        return self.endpoints.get(service) or self.endpoint or None

    def public_endpoint_of(self, service: str) -> str | None:
        """The URL of a service as others reach it; None: the one of AWS."""
        return self.public_endpoints.get(service) or self.endpoint_of(service)
