"""A setup against the fake of Resource Manager (tests/fakes/arm)."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from services.azure.clients import AzureClients
from services.azure.setup.api import ArmApi
from services.azure.setup.desired import Baseline
from services.azure.setup.job import Plan, apply_plan, make_plan
from services.setup.patience import Patience
from services.setup.plan import Step, Verb
from services.setup.tags import default_tags
from tests.fakes.arm import Arm
from tests.servers import azure

LOCATION = "eastus"


@contextmanager
def running_arm() -> Iterator[Arm]:
    arm = Arm(azure.certificate()).start()
    try:
        yield arm
    finally:
        arm.stop()


def baseline(**more: Any) -> Baseline:
    """Names of its own."""
    name = azure.new_name()
    given: dict[str, Any] = {
        "location": LOCATION, "resource_group": name, "storage_account": name,
        "storage_container": "workspace-documents", "cosmos_account": f"{name}-cosmos",
        "cosmos_database": "workspace", "cosmos_container": "workspace_items",
        "tags": default_tags("test"),
    }  # fmt: skip
    return Baseline(**{**given, **more})


def named(steps: Any, verb: Verb) -> set[str]:
    """`storage versioning`, ... of the steps with a verb."""
    return {f"{step.resource.split()[0]} {step.name}" for step in steps if step.verb is verb}


@dataclass
class Telling:
    """Notes what is told."""

    made: list[Step] = field(default_factory=list)
    left: list[Step] = field(default_factory=list)
    waited: list[str] = field(default_factory=list)

    def done(self, step: Step) -> None:
        self.made.append(step)

    def denied(self, step: Step) -> None:
        self.left.append(step)

    def waiting(self, what: str, seconds: float) -> None:
        assert seconds >= 0
        self.waited.append(what)


class Rig:
    """Opens clients for each run, as the command does."""

    def __init__(self, arm: Arm) -> None:
        self.arm = arm
        self.told = Telling()

    async def plan(self, wanted: Baseline, subscription: str = "") -> Plan:
        async with _Api(self.arm) as api:
            return await make_plan(api, wanted, subscription)

    async def set_up(
        self, wanted: Baseline, *, told_every: float = 60.0,
        meanwhile: Callable[[], object] = lambda: None,
    ) -> list[Step]:
        """Plan and apply; what was done. `meanwhile` is done between the two."""
        self.told = Telling()
        async with _Api(self.arm, told_every=told_every) as api:
            plan = await make_plan(api, wanted)
            meanwhile()
            await apply_plan(api, plan, self.told)
        return self.told.made


class _Api:
    def __init__(self, arm: Arm, *, told_every: float = 60.0) -> None:
        self._clients = AzureClients(azure.place({"management": arm.url}))
        clock = _Clock()
        patience = Patience("wm setup azure", sleep=clock.sleep, now=lambda: clock.now)
        self._api = ArmApi(
            self._clients, patience=patience, polling_seconds=0.0, told_every=told_every
        )

    async def __aenter__(self) -> ArmApi:
        return self._api

    async def __aexit__(self, *_: object) -> None:
        await self._api.close()
        await self._clients.close()


class _Clock:
    """Only sleeping takes time, and none of ours."""

    now = 0.0

    async def sleep(self, seconds: float) -> None:
        self.now += max(seconds, 0.01)
