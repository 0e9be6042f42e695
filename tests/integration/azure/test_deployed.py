"""The baseline template as Resource Manager gets it, on its fake: `wm setup azure` then finds
nothing to change but the roles of whoever asks. (Evaluated here: no compiler takes part.)"""

from __future__ import annotations

import ssl
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from services.azure.setup.desired import Baseline, Resource
from services.setup.plan import Verb
from tests.fakes.arm import SUBSCRIPTION, Arm
from tests.integration.azure.bicep import Resolver, template
from tests.integration.azure.rigs import Rig, baseline, named, running_arm
from tests.servers import azure

pytestmark = pytest.mark.usefixtures("azure_environment")
OF_BICEP = {"name", "parent", "dependsOn"}


@pytest.fixture(scope="module")
def arm() -> Iterator[Arm]:
    with running_arm() as made:
        yield made


class Deployment:
    """Sends resources one after the other, as their order in the template is."""

    def __init__(self, arm: Arm, group: str) -> None:
        token, _ = azure.sign_in().token("https://management.azure.com")
        self._group = f"/subscriptions/{SUBSCRIPTION}/resourceGroups/{group}"
        self._client = httpx.Client(
            base_url=arm.url, timeout=30, headers={"Authorization": f"Bearer {token}"},
            verify=ssl.create_default_context(cafile=azure.ca_file()),
        )  # fmt: skip

    def put(self, path: str, version: str, body: dict[str, Any]) -> None:
        asked = self._client.put(
            f"{self._group}{path}", params={"api-version": version}, json=body
        )
        assert asked.is_success, asked.text
        state = asked.headers.get("Azure-AsyncOperation") or asked.headers.get("Location")
        for _ in range(100 if state else 0):
            asked = self._client.get(state)
            assert asked.is_success, asked.text
            if asked.status_code == 200 and asked.json().get("status") in (None, "Succeeded"):
                return
        assert not state, "the operation does not end"

    def __enter__(self) -> Deployment:
        return self

    def __exit__(self, *_: object) -> None:
        self._client.close()


def deploy(arm: Arm, wanted: Baseline) -> None:
    found = Resolver(
        template("baseline"), environmentName="test", location=wanted.location,
        storageAccountName=wanted.storage_account,
        storageContainerName=wanted.storage_container,
        cosmosAccountName=wanted.cosmos_account, cosmosDatabaseName=wanted.cosmos_database,
        cosmosContainerName=wanted.cosmos_container, allowedOrigins=list(wanted.allow_origins),
    )  # fmt: skip
    group = {"location": wanted.location, "tags": dict(wanted.tags)}
    with Deployment(arm, wanted.resource_group) as deployment:
        deployment.put("", "2024-03-01", group)
        for name, each in found.source.of("resource").items():
            body = {key: value for key, value in found.body(name).items() if key not in OF_BICEP}
            path = Resource(each.type, found.full_name(name), body).path("")
            deployment.put(path, each.version, body)


@pytest.mark.parametrize("origins", [(), ("https://app.example.com",)])
async def test_the_setup_finds_what_the_template_made(arm: Arm, origins: tuple[str, ...]) -> None:
    arm.reset()
    arm.registered.add("Microsoft.DocumentDB")
    wanted = baseline(allow_origins=origins)
    deploy(arm, wanted)
    plan = await Rig(arm).plan(wanted)
    assert {step.resource for step in plan.changes} == {"roles of the signed-in user"}
    assert named(plan.steps, Verb.LEAVE) == set()
    assert len(named(plan.steps, Verb.KEEP)) > 15
