"""`wm setup azure` against a fake of Resource Manager: made, hardened, left alone, refused,
gone on with."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest

from services.azure.setup.desired import Baseline
from services.model.errors import WorkspaceError
from services.setup.plan import Verb
from tests.fakes.arm import OTHER, SUBSCRIPTION, Arm
from tests.fakes.https import CUT, CUT_AFTER, Answer
from tests.fakes.sign_in import OBJECT_ID
from tests.integration.azure.rigs import Rig, baseline, named, running_arm

pytestmark = pytest.mark.usefixtures("azure_environment")


@pytest.fixture(scope="module")
def arm() -> Iterator[Arm]:
    with running_arm() as made:
        yield made


@pytest.fixture
def rig(arm: Arm) -> Rig:
    arm.reset()
    return Rig(arm)


async def test_from_nothing_and_then_nothing_to_change(rig: Rig) -> None:
    wanted = baseline(allow_origins=("https://app.example.com",))
    done = await rig.set_up(wanted)
    assert done
    assert all(step.verb is Verb.CREATE for step in done)
    rig.arm.requests.clear()
    plan = await rig.plan(wanted)
    assert plan.changes == []
    assert named(plan.steps, Verb.LEAVE) == set()
    assert await rig.set_up(wanted) == []
    assert rig.arm.wrote == []


async def test_what_is_made_is_private_and_strong(rig: Rig) -> None:
    wanted = baseline()
    await rig.set_up(wanted)
    storage = rig.arm.of(f"/storageAccounts/{wanted.storage_account}")["properties"]
    assert storage["allowSharedKeyAccess"] is False
    assert storage["allowBlobPublicAccess"] is False
    assert storage["minimumTlsVersion"] == "TLS1_2"
    assert storage["allowedCopyScope"] == "AAD"
    assert storage["sasPolicy"]["expirationAction"] == "Block"
    cosmos = rig.arm.of(f"/databaseAccounts/{wanted.cosmos_account}")["properties"]
    assert cosmos["consistencyPolicy"]["defaultConsistencyLevel"] == "Strong"
    assert cosmos["disableLocalAuth"] is True
    assert cosmos["backupPolicy"]["type"] == "Continuous"
    items = rig.arm.of(f"/containers/{wanted.cosmos_container}")["properties"]["resource"]
    assert items["partitionKey"] == {"paths": ["/pk"], "kind": "Hash", "version": 2}
    assert items["defaultTtl"] == -1
    (role,) = rig.arm.roles.values()
    assert role["properties"]["principalId"] == OBJECT_ID


async def test_a_plan_makes_no_writing_call(rig: Rig) -> None:
    wanted = baseline()
    await rig.plan(wanted)
    assert len(rig.arm.requests) > 3
    assert rig.arm.wrote == []
    await rig.set_up(wanted)
    soften(rig.arm, wanted)
    rig.arm.requests.clear()
    assert (await rig.plan(wanted)).changes
    assert rig.arm.wrote == []


async def test_the_control_a_writing_call_is_seen(rig: Rig) -> None:
    await rig.set_up(baseline())
    kinds = {call.split("/")[-2] for call in rig.arm.wrote}
    assert {"storageAccounts", "databaseAccounts", "containers", "roleAssignments"} <= kinds
    assert any(call.endswith("Microsoft.DocumentDB/register") for call in rig.arm.wrote)


def soften(arm: Arm, wanted: Baseline) -> None:
    """As somebody made it by hand."""
    storage = arm.of(f"/storageAccounts/{wanted.storage_account}")
    storage["tags"] = {"Team": "docs", "application": "workspace-management"}
    del storage["properties"]["allowSharedKeyAccess"]
    storage["properties"]["minimumTlsVersion"] = "TLS1_0"
    cosmos = arm.of(f"/databaseAccounts/{wanted.cosmos_account}")["properties"]
    cosmos["consistencyPolicy"]["defaultConsistencyLevel"] = "Session"
    cosmos["enableMultipleWriteLocations"] = True
    cosmos["disableLocalAuth"] = False
    cosmos["backupPolicy"] = {"type": "Periodic"}


async def test_what_exists_is_hardened_and_what_is_in_it_stays(rig: Rig) -> None:
    wanted = baseline()
    await rig.set_up(wanted)
    soften(rig.arm, wanted)
    service = rig.arm.of(f"/{wanted.storage_account}/blobServices/default")["properties"]
    theirs = {
        "allowedOrigins": ["https://other.example.com"], "allowedMethods": ["GET"],
        "allowedHeaders": ["*"], "exposedHeaders": ["*"], "maxAgeInSeconds": 5,
    }  # fmt: skip
    service["cors"] = {"corsRules": [theirs]}
    service["isVersioningEnabled"] = False
    service["changeFeed"] = {"enabled": True}
    rules = rig.arm.of("/managementPolicies/default")["properties"]["policy"]["rules"]
    logs = {**copy.deepcopy(rules[0]), "name": "logs"}
    rules[:] = [logs]
    done = await rig.set_up(replace(wanted, allow_origins=("https://app.example.com",)))
    assert {"storage account keys", "storage least TLS", "Cosmos consistency"} <= named(
        done, Verb.CHANGE
    )
    service = rig.arm.of(f"/{wanted.storage_account}/blobServices/default")["properties"]
    origins = [each["allowedOrigins"][0] for each in service["cors"]["corsRules"]]
    assert origins == ["https://app.example.com", "https://other.example.com"]
    assert service["changeFeed"] == {"enabled": True}
    rules = rig.arm.of("/managementPolicies/default")["properties"]["policy"]["rules"]
    assert [rule["name"] for rule in rules] == [
        "logs", "workspace-expire-old-versions", "workspace-expire-staged",
    ]  # fmt: skip
    tags = rig.arm.of(f"/storageAccounts/{wanted.storage_account}")["tags"]
    assert {key.lower() for key in tags} == {"team", "application", "environment"}
    assert (await rig.plan(wanted)).changes == []


async def test_what_others_changed_since_the_plan_stays(rig: Rig) -> None:
    """Rules of the account and of the blob service are written as a whole."""
    wanted = baseline(allow_origins=("https://app.example.com",))
    await rig.set_up(wanted)
    service = rig.arm.of("/blobServices/default")["properties"]
    rules = rig.arm.of("/managementPolicies/default")["properties"]["policy"]["rules"]
    logs, gone = ({**copy.deepcopy(rules[0]), "name": name} for name in ("logs", "gone"))
    rules[:] = [rules[0], gone]
    service["cors"]["corsRules"] = []
    theirs = {
        "allowedOrigins": ["https://other.example.com"], "allowedMethods": ["GET"],
        "allowedHeaders": ["*"], "exposedHeaders": ["*"], "maxAgeInSeconds": 5,
    }  # fmt: skip

    def meanwhile() -> None:
        rules[:] = [logs, rules[0]]
        service["cors"]["corsRules"] = [theirs]
        service["changeFeed"] = {"enabled": True}

    assert {step.name for step in await rig.set_up(wanted, meanwhile=meanwhile)} == {
        "browsers", "staged uploads",
    }  # fmt: skip
    rules = rig.arm.of("/managementPolicies/default")["properties"]["policy"]["rules"]
    assert [rule["name"] for rule in rules] == [
        "logs", "workspace-expire-old-versions", "workspace-expire-staged",
    ]  # fmt: skip
    service = rig.arm.of("/blobServices/default")["properties"]
    origins = [each["allowedOrigins"][0] for each in service["cors"]["corsRules"]]
    assert origins == ["https://app.example.com", "https://other.example.com"]
    assert service["changeFeed"] == {"enabled": True}
    assert (await rig.plan(wanted)).changes == []


async def test_a_policy_that_was_removed_since_the_plan_is_made(rig: Rig) -> None:
    wanted = baseline()
    await rig.set_up(wanted)
    policy = rig.arm.of("/managementPolicies/default")
    policy["properties"]["policy"]["rules"].pop()
    path = policy["id"].lower()
    await rig.set_up(wanted, meanwhile=lambda: rig.arm.resources.pop(path))
    rules = rig.arm.of("/managementPolicies/default")["properties"]["policy"]["rules"]
    assert [rule["name"] for rule in rules] == ["workspace-expire-staged"]
    await rig.set_up(replace(wanted, keep_versions_days=30))
    assert (await rig.plan(wanted)).changes == []


STORAGE: list[tuple[str, Any]] = [
    ("allowBlobPublicAccess", True), ("allowSharedKeyAccess", True),
    ("allowSharedKeyAccess", None), ("allowCrossTenantReplication", True),
    ("defaultToOAuthAuthentication", False), ("minimumTlsVersion", "TLS1_1"),
    ("supportsHttpsTrafficOnly", False), ("allowedCopyScope", None), ("allowedCopyScope", "All"),
    ("sasPolicy", None),
    ("sasPolicy", {"expirationAction": "Log", "sasExpirationPeriod": "00.01:15:00"}),
    ("sasPolicy", {"expirationAction": "Block", "sasExpirationPeriod": "07.00:00:00"}),
]  # fmt: skip
SERVICE: list[tuple[str, Any]] = [
    ("isVersioningEnabled", False), ("deleteRetentionPolicy", {"enabled": False}),
    ("containerDeleteRetentionPolicy", None), ("cors", {"corsRules": []}),
]  # fmt: skip
COSMOS: list[tuple[str, Any]] = [
    ("consistencyPolicy", {"defaultConsistencyLevel": "BoundedStaleness"}),
    ("disableLocalAuth", False), ("disableKeyBasedMetadataWriteAccess", None),
    ("minimalTlsVersion", "Tls"), ("backupPolicy", {"type": "Periodic"}),
]  # fmt: skip
ITEMS: list[tuple[str, Any]] = [
    ("defaultTtl", None), ("defaultTtl", 3600),
    ("indexingPolicy", {"indexingMode": "consistent", "includedPaths": [{"path": "/pk/?"}]}),
    ("indexingPolicy", {"indexingMode": "none"}),
]  # fmt: skip
DRIFT = [
    *(("/storageAccounts/{0.storage_account}", "properties", *each) for each in STORAGE),
    *(("/blobServices/default", "properties", *each) for each in SERVICE),
    ("/containers/{0.storage_container}", "properties", "publicAccess", "Blob"),
    *(("/databaseAccounts/{0.cosmos_account}", "properties", *each) for each in COSMOS),
    *(("/containers/{0.cosmos_container}", "resource", *each) for each in ITEMS),
    ("/storageAccounts/{0.storage_account}", "", "tags", {}),
    ("/databaseAccounts/{0.cosmos_account}", "", "tags", None),
]


@pytest.fixture(scope="module")
def made() -> dict[str, Any]:
    return {}


@pytest.mark.parametrize(
    ("where", "inside", "key", "value"), DRIFT, ids=[f"{d[2]}-{i}" for i, d in enumerate(DRIFT)]
)
async def test_drift_of_each_property_is_seen_and_mended(
    rig: Rig, made: dict[str, Any], where: str, inside: str, key: str, value: Any
) -> None:
    wanted = await _made_once(rig, made)
    resource = rig.arm.of(where.format(wanted))
    place = resource["properties"]["resource"] if inside == "resource" else resource
    place = resource["properties"] if inside == "properties" else place
    if value is None:
        place.pop(key, None)
    else:
        place[key] = value
    assert len((await rig.plan(wanted)).changes) == 1
    await rig.set_up(wanted)
    assert (await rig.plan(wanted)).changes == []


async def _made_once(rig: Rig, made: dict[str, Any]) -> Baseline:
    """What a first test of the module set up, as it was then."""
    names = ("registered", "groups", "resources", "roles")
    if not made:
        wanted = baseline(allow_origins=("https://app.example.com",))
        await rig.set_up(wanted)
        made["wanted"] = wanted
        made |= {name: copy.deepcopy(getattr(rig.arm, name)) for name in names}
    for name in names:
        setattr(rig.arm, name, copy.deepcopy(made[name]))
    found: Baseline = made["wanted"]
    return found


async def test_the_tags_of_a_group_are_merged_and_its_location_stays(rig: Rig) -> None:
    wanted = baseline()
    path = f"/subscriptions/{SUBSCRIPTION}/resourceGroups/{wanted.resource_group}"
    rig.arm.groups[path.lower()] = {
        "id": path, "name": wanted.resource_group, "location": "westeurope",
        "tags": {"Team": "docs"},
    }  # fmt: skip
    await rig.set_up(wanted)
    group = rig.arm.groups[path.lower()]
    assert group["location"] == "westeurope"
    assert set(group["tags"]) == {"Team", "Application", "Environment"}


async def test_a_role_that_is_taken_away_is_given_again(
    rig: Rig, made: dict[str, Any]
) -> None:
    wanted = await _made_once(rig, made)
    rig.arm.roles.clear()
    del rig.arm.resources[
        next(path for path in rig.arm.resources if "/sqlroleassignments/" in path)
    ]
    assert len(await rig.set_up(wanted)) == 2
    assert (await rig.plan(wanted)).changes == []


async def test_a_role_from_above_counts(rig: Rig, made: dict[str, Any]) -> None:
    wanted = await _made_once(rig, made)
    ((path, role),) = rig.arm.roles.items()
    del rig.arm.roles[path]
    scope = f"/subscriptions/{SUBSCRIPTION}"
    owner = "b7e6dc6d-f1e8-4753-8033-0f276bb0955b"
    definition = f"{scope}/providers/Microsoft.Authorization/roleDefinitions/{owner}"
    role["properties"] |= {"scope": scope, "roleDefinitionId": definition}
    rig.arm.roles["above"] = role
    assert (await rig.plan(wanted)).changes == []
    role["properties"]["roleDefinitionId"] = definition.replace(owner, SUBSCRIPTION)
    assert len((await rig.plan(wanted)).changes) == 1


async def test_a_role_that_is_seen_late_is_no_failure(rig: Rig, made: dict[str, Any]) -> None:
    wanted = await _made_once(rig, made)
    rig.arm.role_lag = 1
    assert [step.name for step in await rig.set_up(wanted)] == ["Storage Blob Data Contributor"]
    assert len(rig.arm.roles) == 1, "the same assignment"
    ((_, role),) = rig.arm.roles.items()
    rig.arm.roles.clear()
    other = "12345678-1111-4222-8333-444444444444"
    rig.arm.roles[f"{role['id'].rpartition('/')[0]}/{other}".lower()] = role
    rig.arm.role_lag = 1
    await rig.set_up(wanted)  # RoleAssignmentExists
    assert len(rig.arm.roles) == 1


async def test_who_may_not_assign_says_what_somebody_else_has_to_run(rig: Rig) -> None:
    rig.arm.denied = {
        "Microsoft.Authorization/roleAssignments/write",
        "Microsoft.DocumentDB/databaseAccounts/sqlRoleAssignments/write",
    }
    wanted = baseline()
    done = await rig.set_up(wanted)
    blob, cosmos = rig.told.left
    assert f"--assignee-object-id {OBJECT_ID}" in blob.instead
    assert "'Storage Blob Data Contributor'" in blob.instead
    assert f"/storageAccounts/{wanted.storage_account}" in blob.instead
    assert "az cosmosdb sql role assignment create" in cosmos.instead
    assert "Cosmos container" in named(done, Verb.CREATE), "the rest is done"
    assert len((await rig.plan(wanted)).changes) == 2


async def test_old_versions_are_not_removed_unasked(rig: Rig, made: dict[str, Any]) -> None:
    wanted = await _made_once(rig, made)
    rules = rig.arm.of("/managementPolicies/default")["properties"]["policy"]["rules"]
    del rules[0]
    plan = await rig.plan(wanted)
    assert plan.changes == []
    assert named(plan.steps, Verb.LEAVE) == {"storage old versions"}
    asked = replace(wanted, keep_versions_days=90)
    assert {step.name for step in await rig.set_up(asked)} == {
        "old versions", "deleted files", "deleted containers",
    }  # fmt: skip
    service = rig.arm.of("/blobServices/default")["properties"]
    assert service["deleteRetentionPolicy"]["days"] == 90
    assert (await rig.plan(wanted)).changes == [], "somebody's choice is kept"


async def test_a_stronger_choice_is_kept(rig: Rig, made: dict[str, Any]) -> None:
    wanted = await _made_once(rig, made)
    storage = rig.arm.of(f"/storageAccounts/{wanted.storage_account}")["properties"]
    storage["minimumTlsVersion"] = "TLS1_3"
    storage["allowedCopyScope"] = "PrivateLink"
    cosmos = rig.arm.of(f"/databaseAccounts/{wanted.cosmos_account}")["properties"]
    cosmos["backupPolicy"]["continuousModeProperties"] = {"tier": "Continuous30Days"}
    throughput = rig.arm.of("/throughputSettings/default")["properties"]["resource"]
    throughput["autoscaleSettings"] = {"maxThroughput": 4000}
    plan = await rig.plan(wanted)
    assert plan.changes == []
    shown = {step.name: step.wanted for step in plan.steps}
    assert shown["throughput"] == "autoscale to 4000 RU/s"
    assert shown["backup"] == "continuous, 30 days"


async def test_a_period_that_azure_writes_another_way_is_the_same(
    rig: Rig, made: dict[str, Any]
) -> None:
    wanted = await _made_once(rig, made)
    storage = rig.arm.of(f"/storageAccounts/{wanted.storage_account}")["properties"]
    storage["sasPolicy"]["sasExpirationPeriod"] = "01:15:00"
    assert (await rig.plan(wanted)).changes == []


@pytest.mark.parametrize("dates", [None, {"key1": "2025-06-01T12:00:00Z", "key2": None}])
async def test_keys_older_than_the_limit_of_urls_are_renewed_first_by_people(
    rig: Rig, made: dict[str, Any], dates: Any
) -> None:
    """The rest of the account is hardened all the same."""
    wanted = await _made_once(rig, made)
    storage = rig.arm.of(f"/storageAccounts/{wanted.storage_account}")["properties"]
    renewed, storage["keyCreationTime"] = storage["keyCreationTime"], dates
    del storage["sasPolicy"]
    storage["allowedCopyScope"] = "All"
    plan = await rig.plan(wanted)
    assert named(plan.steps, Verb.LEAVE) == {"storage signed URLs"}
    assert any("az storage account keys renew" in step.wanted for step in plan.steps)
    assert named(await rig.set_up(wanted), Verb.CHANGE) == {"storage copies from others"}
    storage = rig.arm.of(f"/storageAccounts/{wanted.storage_account}")["properties"]
    storage["keyCreationTime"] = renewed
    assert named(await rig.set_up(wanted), Verb.CHANGE) == {"storage signed URLs"}
    assert (await rig.plan(wanted)).changes == []


@pytest.mark.parametrize("how", ["serverless", "free_tier"])
async def test_how_it_is_paid_for_is_chosen_when_it_is_made(
    rig: Rig, made: dict[str, Any], how: str
) -> None:
    choice: dict[str, Any] = {how: True}
    wanted = baseline(**choice)
    await rig.set_up(wanted)
    assert (await rig.plan(wanted)).changes == []
    without: dict[str, Any] = {how: False}
    assert (await rig.plan(replace(wanted, **without))).changes == []
    there = await _made_once(rig, made)
    plan = await rig.plan(replace(there, **choice))
    assert plan.changes == []
    assert named(plan.steps, Verb.LEAVE) == {"Cosmos billing"}


def _web(arm: Arm, wanted: Baseline) -> None:
    service = arm.of("/blobServices/default")["id"]
    arm.resources[f"{service}/containers/$web".lower()] = {"name": "$web", "properties": {}}


def _public(arm: Arm, wanted: Baseline) -> None:
    arm.of(f"/storageAccounts/{wanted.storage_account}")["properties"][
        "allowBlobPublicAccess"
    ] = True
    arm.of(f"/containers/{wanted.storage_container}")["properties"]["publicAccess"] = "Blob"


def _set(place: str, *path: str, value: Any) -> Any:
    def spoil(arm: Arm, wanted: Baseline) -> None:
        found = arm.of(place.format(wanted))
        for key in path[:-1]:
            found = found[key]
        found[path[-1]] = value

    return spoil


_STORAGE = "/storageAccounts/{0.storage_account}"
_COSMOS = "/databaseAccounts/{0.cosmos_account}"
_CONTAINER = "/containers/{0.storage_container}"
_ITEMS = "/containers/{0.cosmos_container}"
_KEY = ("properties", "resource", "partitionKey")
REFUSED: list[tuple[str, Any, str]] = [
    ("web", _web, "serves a web site from"),
    ("public", _public, "open to the public"),
    ("kind", _set(_STORAGE, "kind", value="BlobStorage"), "of kind BlobStorage"),
    ("location", _set(_STORAGE, "location", value="westeurope"), "--location westeurope"),
    (
        "namespace", _set(_STORAGE, "properties", "isHnsEnabled", value=True),
        "hierarchical namespace",
    ),
    ("hold", _set(_CONTAINER, "properties", "hasLegalHold", value=True), "keeps files by policy"),
    ("mongo", _set(_COSMOS, "kind", value="MongoDB"), "not of the API for NoSQL"),
    (
        "table", _set(_COSMOS, "properties", "capabilities", value=[{"name": "EnableTable"}]),
        "EnableTable",
    ),
    ("place", _set(_COSMOS, "location", value="West Europe"), "--location westeurope"),
    ("failed", _set(_COSMOS, "properties", "provisioningState", value="Failed"), "is failed"),
    ("key", _set(_ITEMS, *_KEY, "paths", value=["/id"]), "partitioned by /id"),
    ("version", _set(_ITEMS, *_KEY, "version", value=1), "of version 1"),
    (
        "unique",
        _set(_ITEMS, "properties", "resource", "uniqueKeyPolicy", value={"uniqueKeys": [1]}),
        "unique keys",
    ),
]  # fmt: skip


@pytest.mark.parametrize(("why", "spoil", "said"), REFUSED, ids=[each[0] for each in REFUSED])
async def test_what_is_not_ours_is_refused_with_the_reason(
    rig: Rig, made: dict[str, Any], why: str, spoil: Any, said: str
) -> None:
    wanted = await _made_once(rig, made)
    spoil(rig.arm, wanted)
    rig.arm.requests.clear()
    with pytest.raises(WorkspaceError, match=said) as refused:
        await rig.set_up(wanted)
    assert "nothing was changed" in refused.value.message, why
    assert rig.arm.wrote == []


async def test_names_that_others_have_are_told_before_anything_is_made(rig: Rig) -> None:
    wanted = baseline()
    for name in (wanted.storage_account, wanted.cosmos_account):
        rig.arm.taken = {name}
        with pytest.raises(WorkspaceError, match="belongs to another subscription"):
            await rig.set_up(wanted)
    rig.arm.taken = set()
    await rig.set_up(wanted)
    rig.arm.page = 1  # both accounts are found on a later page, or on the first
    elsewhere = replace(wanted, resource_group="other")
    rig.arm.requests.clear()
    with pytest.raises(WorkspaceError, match=f"--resource-group {wanted.resource_group}"):
        await rig.set_up(elsewhere)
    assert rig.arm.wrote == []


FAULTS: list[tuple[str, str, int, str, str]] = [
    ("GET", "/subscriptions", 403, "AuthorizationFailed", "'Contributor'"),
    ("GET", "resourceGroups", 401, "ExpiredAuthenticationToken", "az login"),
    ("GET", "storageAccounts", 403, "AuthorizationFailed", "'Contributor'"),
    ("PUT", "resourceGroups", 403, "AuthorizationFailed", "'Contributor'"),
    ("POST", "register", 403, "AuthorizationFailed", "'Contributor'"),
    ("PUT", "storageAccounts", 409, "StorageAccountAlreadyTaken", "another with --prefix"),
    ("PUT", "blobServices", 403, "RequestDisallowedByPolicy", "policy of the organisation"),
    ("PUT", "databaseAccounts", 400, "BadRequest", "activity log"),
    ("PUT", "containers/workspace_items", 409, "ScopeLocked", "a lock"),
    ("PUT", "managementPolicies", 400, "InvalidRequestContent", "activity log"),
]


@pytest.mark.parametrize(
    ("method", "part", "status", "code", "said"), FAULTS, ids=[f"{f[1]}-{f[3]}" for f in FAULTS]
)
async def test_each_failure_says_what_helps_and_the_next_run_goes_on(
    rig: Rig, method: str, part: str, status: int, code: str, said: str
) -> None:
    wanted = baseline()
    if part == "storageAccounts" and method == "GET":
        await rig.set_up(wanted)
    rig.arm.at.append((method, part, rig.arm.error(status, code)))
    with pytest.raises(WorkspaceError) as failed:
        await rig.set_up(wanted)
    assert said in failed.value.message
    await rig.set_up(wanted)
    plan = await rig.plan(wanted)
    assert plan.changes == []
    assert named(plan.steps, Verb.LEAVE) == set(), "what was half made is no choice of anybody"


@pytest.mark.parametrize(
    "fault",
    [
        Answer(429, {"error": {"code": "TooManyRequests"}}, {"Retry-After": "0"}),
        Answer(503, {"error": {"code": "ServerBusy"}}),
        Answer(412, {"error": {"code": "PreconditionFailed"}}),
        CUT, CUT_AFTER,
    ],
    ids=["429", "503", "busy", "cut", "cut-after"],
)  # fmt: skip
@pytest.mark.parametrize("at", [1, 9])
async def test_what_passes_is_repeated(rig: Rig, at: int, fault: Any) -> None:
    """At a reading and at a writing call."""
    wanted = baseline()
    reading = at == 1
    if reading and isinstance(fault, Answer) and fault.status == 412:
        fault = Answer(500)
    if reading:
        rig.arm.faults.append(fault)
        await rig.set_up(wanted)
    else:
        plan = await rig.plan(wanted)
        assert plan.changes
        done = await _with_fault_at_the_first_write(rig, wanted, fault)
        assert done
    assert (await rig.plan(wanted)).changes == []


async def _with_fault_at_the_first_write(rig: Rig, wanted: Baseline, fault: Any) -> Any:
    real = rig.arm.answer

    def answer(request: Any) -> Any:
        if request.method == "PUT" and not rig.arm.wrote:
            rig.arm.faults.append(fault)
        return real(request)

    rig.arm.answer = answer  # type: ignore[method-assign]
    try:
        return await rig.set_up(wanted)
    finally:
        del rig.arm.answer


async def test_a_run_that_was_cut_while_accounts_were_made_goes_on(rig: Rig) -> None:
    wanted = baseline()
    rig.arm.operations.looks = 3
    rig.arm.at.append(("GET", "/status/", rig.arm.error(403, "AuthorizationFailed")))
    with pytest.raises(WorkspaceError):
        await rig.set_up(wanted)
    cosmos = rig.arm.of(f"/databaseAccounts/{wanted.cosmos_account}")["properties"]
    assert cosmos["provisioningState"] == "Creating"
    rig.arm.operations.looks = 1
    done = await rig.set_up(wanted)
    assert "Cosmos account" in named(done, Verb.CREATE), "it was waited for"
    assert (await rig.plan(wanted)).changes == []


async def test_an_operation_that_fails_says_so(rig: Rig) -> None:
    wanted = baseline()
    rig.arm.failures["databaseAccounts"] = ("ServiceUnavailable", "high demand in East US")
    with pytest.raises(WorkspaceError, match="choose another with --location"):
        await rig.set_up(wanted)
    with pytest.raises(WorkspaceError, match="is failed: delete it"):
        await rig.set_up(wanted)


async def test_what_takes_long_is_told(rig: Rig) -> None:
    rig.arm.operations.looks = 20
    await rig.set_up(baseline(), told_every=0.0)
    assert any(what.startswith("Cosmos DB account") for what in rig.told.waited)


async def test_the_only_subscription_is_taken_and_of_several_one_is_named(rig: Rig) -> None:
    wanted = baseline()
    assert (await rig.plan(wanted)).who.subscription == SUBSCRIPTION
    second = {**rig.arm.subscriptions[0], "subscriptionId": SUBSCRIPTION.replace("a", "e")}
    rig.arm.subscriptions.append(second)
    with pytest.raises(WorkspaceError, match="AZURE_SUBSCRIPTION_ID"):
        await rig.plan(wanted)
    named_one = await rig.plan(wanted, second["subscriptionId"])
    assert named_one.who.subscription == second["subscriptionId"]
    second["state"] = "Disabled"
    assert (await rig.plan(wanted)).who.subscription == SUBSCRIPTION
    with pytest.raises(WorkspaceError, match="is Disabled"):
        await rig.plan(wanted, second["subscriptionId"])
    rig.arm.subscriptions.clear()
    with pytest.raises(WorkspaceError, match="see no subscription"):
        await rig.plan(wanted)
    with pytest.raises(WorkspaceError, match="no subscription"):
        await rig.plan(wanted, SUBSCRIPTION)


async def test_a_subscription_of_another_tenant_says_so(rig: Rig) -> None:
    with pytest.raises(WorkspaceError, match="AZURE_TENANT_ID"):
        await rig.plan(baseline(), OTHER)


async def test_without_credentials_it_says_how_to_sign_in(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    from tests.servers import azure

    monkeypatch.setattr(azure.sign_in(), "refuse", True)
    with pytest.raises(WorkspaceError, match="az login"):
        await rig.plan(baseline())


async def test_an_endpoint_that_is_down_is_an_error_and_no_wait(rig: Rig) -> None:
    from tests.servers.ports import free_port

    class Down:
        url = f"https://127.0.0.1:{free_port()}"

    down: Any = Down()
    with pytest.raises(WorkspaceError, match="nothing answers"):
        await Rig(down).plan(baseline())
