"""Settings that put the clouds on servers of the tests, and what makes secrets there."""

from __future__ import annotations

import secrets
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any, Protocol

import pytest

from services.aws.clients import AwsClients
from services.config import load_settings
from services.settings import Settings
from tests.fakes.app_configuration import Store
from tests.fakes.vault import Vault
from tests.servers import aws, azure

ENDPOINT_SUFFIX = "/moto-api/"


class MakeSettings(Protocol):
    def __call__(self, **given: Any) -> Settings: ...


@pytest.fixture
async def clients(aws_environment: None) -> AsyncIterator[AwsClients]:
    opened = aws.clients_of(aws.moto())
    yield opened
    await opened.close()


@pytest.fixture
def make_settings(tmp_path: Path, aws_environment: None) -> MakeSettings:
    """Settings in a data folder of their own, on moto."""

    def make(**given: Any) -> Settings:
        url = aws.moto().url.removesuffix(ENDPOINT_SUFFIX)
        return load_settings(
            **{"data_dir": tmp_path / "wm-data", "aws_region": aws.REGION, "aws_endpoint": url}
            | given
        )

    return make


@pytest.fixture
def vault() -> Iterator[Vault]:
    started = Vault(azure.certificate()).start()
    yield started
    started.stop()


@pytest.fixture
def store() -> Iterator[Store]:
    """Of App Configuration."""
    started = Store(azure.certificate()).start()
    yield started
    started.stop()


@pytest.fixture
def on_azure(tmp_path: Path, azure_environment: None, vault: Vault, store: Store) -> MakeSettings:
    """Settings in a data folder of their own, on these two."""

    def make(**given: Any) -> Settings:
        return load_settings(
            **{
                "data_dir": tmp_path / "wm-data",
                "azure_vault_endpoint": vault.url,
                "azure_configuration_endpoint": store.url,
                "azure_ca_file": Path(azure.ca_file()),
            }
            | given
        )

    return make


@pytest.fixture
def name() -> str:
    """Of a secret that nobody has."""
    return f"workspace/{secrets.token_hex(6)}"
