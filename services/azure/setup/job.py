"""One setup: who we are, what is there, the plan, and doing it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from services.azure.clients import AzureClients
from services.azure.setup import desired
from services.azure.setup.api import ArmApi
from services.azure.setup.assignments import plan_assignments
from services.azure.setup.calls import put_at, register
from services.azure.setup.cosmos import is_serverless, plan_cosmos
from services.azure.setup.desired import API_VERSIONS, Baseline
from services.azure.setup.names import Target
from services.azure.setup.refusals import check_names, check_state
from services.azure.setup.remedies import explained
from services.azure.setup.state import State, group_path, read_state
from services.azure.setup.storage import plan_storage
from services.azure.setup.tags import TAGS, merged, missing
from services.azure.setup.who import Who, who_am_i
from services.model.errors import WorkspaceError
from services.setup.plan import Call, Step, Told, Verb, changes_of, compared

__all__ = ["AzureSetup", "Plan", "apply_plan", "make_plan"]

_ACCOUNT_SECONDS: Final = 1800.0
_REGISTERED_SECONDS: Final = 600.0


@dataclass(frozen=True, slots=True)
class Plan:
    """What a setup would do in a subscription."""

    who: Who
    wanted: Baseline
    steps: Sequence[Step]
    notes: Sequence[str] = ()

    @property
    def heading(self) -> str:
        where = f"resource group {self.wanted.resource_group} in {self.wanted.location}"
        return f"Azure subscription {self.who.name} ({self.who.subscription}), {where}"

    @property
    def scope(self) -> str:
        return f"subscription {self.who.name} ({self.who.subscription})"

    @property
    def members(self) -> Mapping[str, str]:
        return {
            "subscription": self.who.subscription, "tenant": self.who.tenant,
            "resource_group": self.wanted.resource_group, "location": self.wanted.location,
        }  # fmt: skip

    @property
    def changes(self) -> list[Step]:
        return changes_of(self.steps)


class AzureSetup:
    """One run (services/setup/plan.py: Setup)."""

    def __init__(self, target: Target) -> None:
        self._target = target
        self._clients = AzureClients(target.place)
        self._api = ArmApi(self._clients)
        self._plan: Plan | None = None

    async def plan(self) -> Plan:
        self._plan = await make_plan(self._api, self._target.baseline, self._target.subscription)
        return self._plan

    async def apply(self, told: Told) -> None:
        await apply_plan(self._api, self._plan or await self.plan(), told)

    async def close(self) -> None:
        await self._api.close()
        await self._clients.close()


async def make_plan(api: ArmApi, wanted: Baseline, subscription: str = "") -> Plan:
    """Read everything, write nothing. Raises INVALID_STATE where a resource is not ours
    to harden, BACKEND_UNAVAILABLE naming the role that is missing."""
    who = await who_am_i(api, subscription)
    state = await read_state(api, who, wanted)
    check_state(wanted, state)
    await check_names(api, who, wanted, state)
    group = group_path(who, wanted)
    steps = [
        *_providers(who, state),
        *_group(wanted, group, state),
        *plan_storage(wanted, group, state),
        *plan_cosmos(wanted, group, state),
        *plan_assignments(wanted, group, state, who),
    ]
    return Plan(who, wanted, steps, _notes(wanted, state, steps))


async def apply_plan(api: ArmApi, plan: Plan, told: Told) -> None:
    """Make every change in order. A step that these credentials may not do, and that says
    what somebody else can do `instead`, is left."""
    for step in plan.changes:
        try:
            for call in step.calls:
                await _make(api, step.resource, call, told.waiting)
        except WorkspaceError as error:
            if not step.instead or error.metadata.get("failure") != "denied":
                raise explained(error, step.resource) from None
            told.denied(step)
        else:
            told.done(step)


async def _make(
    api: ArmApi, what: str, call: Call, waiting: Callable[[str, float], None]
) -> None:
    path = str(call.parameters["path"])
    if call.operation != "WAIT":
        await api.write(call, what, waiting)
    if call.settle == "registered":
        provider = path.removesuffix("/register")
        await api.until(lambda: _is(api, provider, "Registered"), what, _REGISTERED_SECONDS)
    elif call.settle == "account":
        await api.until(lambda: _is(api, path, "Succeeded"), what, _ACCOUNT_SECONDS)


async def _is(api: ArmApi, path: str, state: str) -> bool:
    version = API_VERSIONS[
        "Microsoft.DocumentDB" if "/databaseAccounts/" in path else "Microsoft.Resources"
    ]
    found: dict[str, Any] = await api.read(path, version, path.rpartition("/")[2]) or {}
    says = found.get("registrationState") or found.get("properties", {}).get("provisioningState")
    return bool(says == state)


def _providers(who: Who, state: State) -> list[Step]:
    """Nothing is said of those that are there."""
    return [
        Step(
            f"subscription {who.name}", f"provider {name}", Verb.CREATE, "registered", "",
            [register(who.path, name)],
        )
        for name, there in state.registered.items()
        if not there
    ]  # fmt: skip


def _group(wanted: Baseline, group: str, state: State) -> list[Step]:
    name = f"resource group {wanted.resource_group}"
    version = API_VERSIONS["Microsoft.Resources"]
    if state.group is None:
        making = put_at(group, version, desired.resource_group(wanted))
        shown = TAGS.shown(wanted.tags)
        return [
            Step(name, "group", Verb.CREATE, f"in {wanted.location}", "", [making]),
            Step(name, "tags", Verb.CREATE, shown),
        ]
    tags: dict[str, str] = state.group.get("tags") or {}
    body = {"tags": merged(wanted.tags, tags)}
    call = Call("management", "PATCH", {"path": group, "api_version": version, "body": body})
    location = str(state.group.get("location", ""))
    return [
        Step(name, "group", Verb.KEEP, f"in {location}", location),
        compared(
            name, "tags", wanted=TAGS.shown(wanted.tags), was=TAGS.shown(tags),
            good=not missing(wanted.tags, tags), calls=[call],
        ),
    ]  # fmt: skip


def _notes(wanted: Baseline, state: State, steps: Sequence[Step]) -> list[str]:
    """What is made costs money, and what a new role does not allow at once."""
    notes = []
    if state.container is None:
        serverless = is_serverless(state.cosmos) if state.cosmos else wanted.serverless
        notes.append(_cost(wanted, serverless=serverless))
    if any(step.instead for step in changes_of(steps)):
        notes.append("New roles count after up to ten minutes: then `wm serve`.")
    return notes


def _cost(wanted: Baseline, *, serverless: bool) -> str:
    """List prices of a region of the United States, 2025."""
    if serverless:
        return "Cost: Cosmos DB about USD 0.25 for a million request units, nothing while idle."
    most = wanted.max_throughput
    least = most // 10
    price = 0.0876  # USD a month for one RU/s of autoscale
    free = " (the free tier covers 1000 RU/s of one account)" if wanted.free_tier else ""
    return (
        f"Cost: Cosmos DB about USD {least * price:.0f} a month idle ({least} RU/s), "
        f"{most * price:.0f} when busy all day ({most} RU/s){free}. `--serverless` pays by "
        "request instead."
    )
