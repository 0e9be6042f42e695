"""Settings that put AWS on moto, and clients to make secrets there."""

from __future__ import annotations

import secrets
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, Protocol

import pytest

from services.aws.clients import AwsClients
from services.config import Settings, load_settings
from tests.servers import aws

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
def name() -> str:
    """Of a secret that nobody has."""
    return f"workspace/{secrets.token_hex(6)}"
