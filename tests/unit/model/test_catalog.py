"""The backend catalog against the Provider Mapping of the seeds."""

from __future__ import annotations

import re

from services.model import catalog
from services.model.selection import backend_selection, refuse_secrets

# The seeds' table (parity checklist), word for word.
MAPPING = {
    "User sign-in and deployment claims": ("Cognito", "Microsoft Entra External ID"),
    "API runtime": (
        "API Gateway + Lambda",
        "Azure Functions or Container Apps behind API Management",
    ),
    "Application records": ("DynamoDB", "Cosmos DB for NoSQL"),
    "Raw and processed files": ("S3", "Blob Storage"),
    "Upload URL": ("S3 presigned URL", "Blob delegated upload URL or SAS issued by the API"),
    "Administrative event bus": ("EventBridge", "Event Grid"),
    "Email": ("SES", "Azure Communication Services Email"),
    "Secrets and runtime configuration": (
        "Secrets Manager or Parameter Store",
        "Key Vault or App Configuration",
    ),
}


def test_every_line_of_the_seeds_is_there() -> None:
    ours = {
        concern.label: tuple(
            concern.services[p].instead_of or concern.services[p].label for p in ("aws", "azure")
        )
        for concern in catalog.CONCERNS
    }
    assert ours == MAPPING


def test_only_the_runtime_and_the_kind_of_sas_differ() -> None:
    changed = {
        (concern.key, provider)
        for concern in catalog.CONCERNS
        for provider, service in concern.services.items()
        if service.instead_of
    }
    assert changed == {("api_runtime", "aws"), ("api_runtime", "azure"), ("upload_url", "azure")}
    assert "Fargate" in catalog.services_of("aws")["api_runtime"]
    assert "Container Apps" in catalog.services_of("azure")["api_runtime"]


def test_every_provider_covers_every_concern() -> None:
    keys = [provider.key for provider in catalog.PROVIDERS]
    assert keys == ["local", "aws", "azure"]
    for concern in catalog.CONCERNS:
        assert re.fullmatch(r"[a-z][a-z0-9_]{0,63}", concern.key)
        assert list(concern.services) == keys
        assert all(0 < len(service.label) <= 200 for service in concern.services.values())
    assert len({concern.key for concern in catalog.CONCERNS}) == len(catalog.CONCERNS)


def test_the_plain_form() -> None:
    plain = catalog.backend_provider_catalog()
    assert list(plain) == ["local", "aws", "azure"]
    assert plain["aws"]["label"] == "Amazon Web Services"
    assert plain["aws"]["storage_provider"] == "aws"
    assert (plain["aws"]["place_field"], plain["aws"]["default_place"]) == ("region", "us-east-1")
    assert (plain["azure"]["place_field"], plain["azure"]["default_place"]) == (
        "location",
        "eastus",
    )
    assert plain["azure"]["services"] == catalog.services_of("azure")


def test_labels_agree_with_the_selection() -> None:
    for provider in catalog.PROVIDERS:
        selection = backend_selection(provider=provider.key)
        assert selection["identity"] == {"service": provider.identity_service}
        assert selection["notifications"] == {"service": provider.notification_service}
        refuse_secrets(selection)
    for key in ("aws", "azure"):
        services = catalog.services_of(key)
        chosen = catalog.provider_of(key)
        assert chosen is not None
        assert chosen.identity_service == services["identity"]
        assert chosen.notification_service == f"{services['event_bus']} + {services['email']}"


def test_unknown_provider() -> None:
    assert catalog.provider_of("gcp") is None
