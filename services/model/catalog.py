"""The backend catalog: labels, service mapping and defaults of local, AWS and Azure.

This is the seeds' `backendProviderCatalog` (parity checklist, Provider Mapping).
One row differs from it on purpose: gRPC needs HTTP/2 end to end, so the API
runs on ECS Fargate behind a load balancer and on Azure Container Apps; the row
keeps the seeds' service in `instead_of`.
"""

from __future__ import annotations

from dataclasses import dataclass
from types import MappingProxyType
from typing import Final

__all__ = [
    "CONCERNS",
    "PROVIDERS",
    "Concern",
    "Provider",
    "Service",
    "backend_provider_catalog",
    "provider_of",
    "services_of",
]


@dataclass(frozen=True, slots=True)
class Service:
    """What covers a concern on one provider; `instead_of` = what the seeds named there."""

    label: str
    instead_of: str = ""


@dataclass(frozen=True, slots=True)
class Concern:
    """One line of the provider mapping. `key` is stable, `label` is for people."""

    key: str
    label: str
    services: MappingProxyType[str, Service]


@dataclass(frozen=True, slots=True)
class Provider:
    """One provider: its label, what `storage_provider` says, and its default place.

    `place_field` is the name the selection file gives the place (`region`,
    `location`, or empty for local).
    """

    key: str
    label: str
    storage_provider: str
    place_field: str
    default_place: str
    identity_service: str
    notification_service: str


PROVIDERS: Final = (
    Provider(
        key="local",
        label="Local",
        storage_provider="local",
        place_field="",
        default_place="",
        identity_service="Local accounts",
        notification_service="Local events + mail folder",
    ),
    Provider(
        key="aws",
        label="Amazon Web Services",
        storage_provider="aws",
        place_field="region",
        default_place="us-east-1",
        identity_service="Cognito",
        notification_service="EventBridge + SES",
    ),
    Provider(
        key="azure",
        label="Microsoft Azure",
        storage_provider="azure",
        place_field="location",
        default_place="eastus",
        identity_service="Microsoft Entra External ID",
        notification_service="Event Grid + Azure Communication Services Email",
    ),
)


def _concern(key: str, label: str, *, local: Service, aws: Service, azure: Service) -> Concern:
    services = MappingProxyType({"local": local, "aws": aws, "azure": azure})
    return Concern(key, label, services)


CONCERNS: Final = (
    _concern(
        "identity",
        "User sign-in and deployment claims",
        local=Service("Local signing key (Ed25519)"),
        aws=Service("Cognito"),
        azure=Service("Microsoft Entra External ID"),
    ),
    _concern(
        "api_runtime",
        "API runtime",
        local=Service("One process (wm serve)"),
        aws=Service(
            "ECS Fargate behind an Application Load Balancer", instead_of="API Gateway + Lambda"
        ),
        azure=Service(
            "Azure Container Apps with gRPC ingress",
            instead_of="Azure Functions or Container Apps behind API Management",
        ),
    ),
    _concern(
        "application_records",
        "Application records",
        local=Service("SQLite"),
        aws=Service("DynamoDB"),
        azure=Service("Cosmos DB for NoSQL"),
    ),
    _concern(
        "files",
        "Raw and processed files",
        local=Service("File system"),
        aws=Service("S3"),
        azure=Service("Blob Storage"),
    ),
    _concern(
        "upload_url",
        "Upload URL",
        local=Service("Signed URL of the local gateway"),
        aws=Service("S3 presigned URL"),
        azure=Service(
            "User-delegation SAS issued by the API",
            instead_of="Blob delegated upload URL or SAS issued by the API",
        ),
    ),
    _concern(
        "event_bus",
        "Administrative event bus",
        local=Service("Local watchers and signed webhooks"),
        aws=Service("EventBridge"),
        azure=Service("Event Grid"),
    ),
    _concern(
        "email",
        "Email",
        local=Service("Mail folder or SMTP"),
        aws=Service("SES"),
        azure=Service("Azure Communication Services Email"),
    ),
    _concern(
        "secrets",
        "Secrets and runtime configuration",
        local=Service("Key files readable by the owner only"),
        aws=Service("Secrets Manager or Parameter Store"),
        azure=Service("Key Vault or App Configuration"),
    ),
)

_BY_KEY: Final = MappingProxyType({provider.key: provider for provider in PROVIDERS})


def provider_of(key: str) -> Provider | None:
    """The provider `local`, `aws` or `azure`; None for any other key."""
    return _BY_KEY.get(key)


def services_of(provider: str) -> dict[str, str]:
    """Concern key -> label of the service that covers it on this provider."""
    return {concern.key: concern.services[provider].label for concern in CONCERNS}


def backend_provider_catalog() -> dict[str, dict[str, object]]:
    """The whole catalog as plain data, by provider: label, storage_provider, place, services."""
    return {
        provider.key: {
            "label": provider.label,
            "storage_provider": provider.storage_provider,
            "place_field": provider.place_field,
            "default_place": provider.default_place,
            "identity_service": provider.identity_service,
            "notification_service": provider.notification_service,
            "services": services_of(provider.key),
        }
        for provider in PROVIDERS
    }
