"""A setup against moto, with faults where a test wants them."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Mapping
from typing import Any

from botocore.exceptions import ClientError

from services.aws.clients import AwsClients
from services.aws.place import AwsPlace
from services.aws.setup.api import SetupApi
from services.aws.setup.desired import Baseline
from services.aws.setup.job import Plan, apply_plan, make_plan
from services.setup.patience import Patience
from services.setup.plan import Step
from services.setup.tags import default_tags
from tests.servers.aws import REGION, moto

Fault = Callable[[], Exception]


def endpoint() -> str:
    return moto().url.removesuffix("moto-api/").rstrip("/")


def baseline(**more: Any) -> Baseline:
    """Names of its own; all tests share one server."""
    name = f"wm-{secrets.token_hex(5)}"
    given = {"region": REGION, "bucket": f"{name}-documents", "table": name}
    return Baseline(**{**given, "tags": default_tags("test"), **more})


def answered(code: str, status: int = 400) -> Fault:
    """An error answer of a service."""

    def made() -> Exception:
        answer: Any = {
            "Error": {"Code": code, "Message": "x"}, "ResponseMetadata": {"HTTPStatusCode": status}
        }  # fmt: skip
        return ClientError(answer, "Any")

    return made


class Rig(AwsClients):
    """Clients that note every call, and fail where `faults` has the operation."""

    def __init__(self, *, region: str = REGION, url: str = "") -> None:
        super().__init__(AwsPlace(region, endpoint=url or endpoint()), workers=2)
        self.called: list[str] = []
        self.faults: dict[str, list[Fault]] = {}
        self.answers: dict[str, Mapping[str, Any]] = {}

    async def call(self, service: str, operation: str, **parameters: Any) -> dict[str, Any]:
        self.called.append(operation)
        if waiting := self.faults.get(operation):
            raise waiting.pop(0)()
        if operation in self.answers:
            return dict(self.answers[operation])
        return await super().call(service, operation, **parameters)

    @property
    def wrote(self) -> list[str]:
        """Calls that were not readings."""
        reads = ("get_", "describe_", "head_", "list_")
        return [name for name in self.called if not name.startswith(reads)]

    def api(self) -> SetupApi:
        return SetupApi(self, patience=Patience("wm setup aws", seconds=0.5, sleep=_at_once))

    async def plan(self, wanted: Baseline) -> Plan:
        return await make_plan(self.api(), wanted)

    async def set_up(self, wanted: Baseline) -> list[Step]:
        """Plan and apply; what was done."""
        done: list[Step] = []
        await apply_plan(self.api(), await self.plan(wanted), done=done.append)
        return done

    def sdk(self, service: str) -> Any:
        return self.client(service)


async def _at_once(_: float) -> None: ...
