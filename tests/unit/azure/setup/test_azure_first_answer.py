"""A token is no answer of Resource Manager: who mistyped its endpoint is told soon."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from services.azure.clients import AzureClients
from services.azure.place import AzurePlace
from services.azure.setup.api import ArmApi
from services.model.errors import WorkspaceError
from services.setup.patience import Patience
from tests.servers.ports import free_port


class SignedIn:
    """A credential that always has a token."""

    async def get_token(self, *_scopes: str, **_options: Any) -> Any:
        return SimpleNamespace(token="t", expires_on=1 << 40)

    async def close(self) -> None:
        """Nothing is open."""


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    async def sleep(self, seconds: float) -> None:
        self.now += max(seconds, 0.01)


async def test_a_token_is_no_answer() -> None:
    clock = Clock()
    clients = AzureClients(AzurePlace(endpoints={"management": f"https://127.0.0.1:{free_port()}"}))
    clients._credential = SignedIn()  # type: ignore[assignment]
    patience = Patience("wm setup azure", sleep=clock.sleep, now=lambda: clock.now)
    api = ArmApi(clients, patience=patience)
    try:
        await api.token()
        with pytest.raises(WorkspaceError, match="nothing answers"):
            await api.listed("/subscriptions", "2022-12-01", "the subscriptions")
    finally:
        await api.close()
        await clients.close()
    assert 4 < clock.now <= 12
