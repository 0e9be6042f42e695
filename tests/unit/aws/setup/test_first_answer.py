"""Who mistyped an endpoint is told soon; who was answered before gets more patience."""

from __future__ import annotations

from typing import Any

import pytest
from botocore.exceptions import EndpointConnectionError

from services.aws.setup.api import SetupApi
from services.model.errors import WorkspaceError
from services.setup.patience import Patience


class Clients:
    """Answers the first `answers` calls, then nobody is there."""

    def __init__(self, answers: int) -> None:
        self.answers = answers

    async def call(self, service: str, operation: str, **parameters: Any) -> dict[str, Any]:
        self.answers -= 1
        if self.answers < 0:
            raise EndpointConnectionError(endpoint_url="http://127.0.0.1:9")
        return {}


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    async def sleep(self, seconds: float) -> None:
        self.now += max(seconds, 0.01)


@pytest.mark.parametrize(("answers", "least", "most"), [(0, 4, 12), (1, 40, 60)])
async def test_how_long_an_answer_is_waited_for(answers: int, least: int, most: int) -> None:
    clock = Clock()
    clients: Any = Clients(answers)
    api = SetupApi(
        clients,
        patience=Patience("wm setup aws", sleep=clock.sleep, now=lambda: clock.now),
    )
    for _ in range(answers):
        await api.read("sts", "get_caller_identity", "these credentials")
    with pytest.raises(WorkspaceError, match="nothing answers"):
        await api.read("sts", "get_caller_identity", "these credentials")
    assert least < clock.now <= most
