"""deploy/azure: what the templates say is what the setup makes and the code needs.

What no test here can show: that Azure Resource Manager takes them. Names and literals of
their properties were compared with the published types (bicep-types-az) by hand.
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
from workspace.sync.v1.connection_pb2 import Connection

from services.azure.permissions import GRANTS, NARROWER, SERVICES, grants_of
from services.azure.roles import ROLES
from services.azure.setup.desired import API_VERSIONS, Baseline, resources
from services.config import load_settings
from services.model.errors import WorkspaceError
from services.model.families import FAMILIES
from services.model.indexes import Index
from services.model.selection import backend_selection
from services.records.cosmos.schema import check_container, container_definition
from services.secrets.reference import parse_reference
from services.settings import Settings
from services.setup.tags import default_tags
from services.tokens.entra_settings import EntraSettings
from sync_svc.connections.reach import Reach
from tests.integration.azure.bicep import (
    FOLDER,
    Declared,
    DeploymentRefused,
    Reference,
    Resolver,
    Template,
    names_used,
    template,
    text_of,
    walk,
)

NAMES = ("baseline", "roles", "runtime", "registry", "registration")
_KIND = re.compile(r"Microsoft\.[A-Z][A-Za-z]+(/[A-Za-z]+)+@(\d{4}-\d{2}-\d{2}(-preview)?|v1\.0)")
_OF_BICEP = {"name", "parent", "scope", "dependsOn"}
_PEOPLE = {
    "entraTenantId": "1" * 36, "entraClientIds": "2" * 36, "image": "r/workspace@sha256:1",
    "frontImage": "r/caddy@sha256:0",
}  # fmt: skip
TENANT = "11111111-2222-3333-4444-555555555555"
CLIENT = "66666666-7777-8888-9999-000000000000"


def asked(**more: Any) -> Baseline:
    given: dict[str, Any] = {
        "location": "eastus", "resource_group": "g", "storage_account": "wmtestdocs",
        "storage_container": "files", "cosmos_account": "wm-test-cosmos",
        "cosmos_database": "workspace", "cosmos_container": "items", "tags": default_tags("test"),
    }  # fmt: skip
    return Baseline(**{**given, **more})


def baseline_as(wanted: Baseline, **more: Any) -> Resolver:
    return Resolver(
        template("baseline"), environmentName="test", location=wanted.location,
        storageAccountName=wanted.storage_account,
        storageContainerName=wanted.storage_container,
        cosmosAccountName=wanted.cosmos_account, cosmosDatabaseName=wanted.cosmos_database,
        cosmosContainerName=wanted.cosmos_container, **more,
    )  # fmt: skip


def runtime(**values: Any) -> Resolver:
    return Resolver(template("runtime"), **{**_PEOPLE, **values})


@pytest.mark.parametrize("name", NAMES)
def test_a_template_is_bicep(name: str) -> None:
    source = template(name)
    wrong = [each for each in walk(source.root) if each.is_error or each.is_missing]
    assert not wrong
    assert not source.has_error
    assert source.of("resource")


def test_the_control_a_wrong_template_is_seen() -> None:
    text = (FOLDER / "baseline.bicep").read_text(encoding="utf-8")
    assert Template(text.replace("properties: {", "properties {", 1)).has_error
    assert Template(text.replace("param location string =", "param location =", 1)).has_error


def test_every_template_of_the_folder_is_looked_at() -> None:
    assert {path.stem for path in FOLDER.glob("*.bicep")} == set(NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_resources_have_a_type_and_a_version_and_one_each(name: str) -> None:
    versions: dict[str, set[str]] = {}
    for each in template(name).of("resource").values():
        assert _KIND.fullmatch(each.kind), each.kind
        versions.setdefault(each.type.partition("/")[0], set()).add(each.version)
    assert all(len(found) == 1 for found in versions.values()), versions


def test_templates_and_setup_speak_the_same_versions() -> None:
    for name in NAMES:
        for each in template(name).of("resource").values():
            provider = each.type.partition("/")[0]
            assert each.version == API_VERSIONS.get(provider, each.version)


@pytest.mark.parametrize("name", NAMES)
def test_parameters_are_described_and_used(name: str) -> None:
    source = template(name)
    used = names_used(source)
    for each in source.of("param").values():
        (text,) = each.decorators["description"]
        assert text.endswith("."), each.name
        assert each.name in used, f"{each.name} is not used"
    for each in source.of("var").values():
        assert each.name in used, f"{each.name} is not used"
    for each in source.outputs.values():
        assert each.decorators["description"], each.name


@pytest.mark.parametrize("name", NAMES)
def test_what_expressions_name_is_there(name: str) -> None:
    """The compiler would say; names of functions are those that are worked out here."""
    source = template(name)
    functions = {each.removeprefix("_call_") for each in dir(Resolver)}
    decorators = {"description", "allowed", "minLength", "maxLength", "minValue", "maxValue"}
    loops = [each for each in walk(source.root) if each.type == "for_statement"]
    items = {text_of(each.named_children[0]) for each in loops}
    assert names_used(source) <= set(source.all) | functions | decorators | items


@pytest.mark.parametrize("name", NAMES)
def test_no_secret_goes_in_or_out(name: str) -> None:
    """There is none in the templates at all: identities sign in, the process makes its keys."""
    text = (FOLDER / f"{name}.bicep").read_text(encoding="utf-8")
    assert not re.search(r"\blist(Keys|Secrets|Credentials|AccountSas|\w*Sas)\b", text)
    words = r"(?i)(accountKey|sharedKey(?!Access)|connectionString|password|clientSecret)"
    assert not re.search(words, text)
    for each in template(name).of("param").values():
        assert not re.search(r"(?i)secret|password|key$|token", each.name) or (
            "secure" in each.decorators
        ), each.name


@pytest.mark.parametrize("origins", [(), ("https://app.example.com",)])
@pytest.mark.parametrize("cheap", ["", "serverless", "free_tier"])
@pytest.mark.parametrize("days", [None, 90])
def test_the_baseline_of_the_template_is_that_of_the_setup(
    origins: tuple[str, ...], cheap: str, days: int | None
) -> None:
    more = {cheap: True} if cheap else {}
    wanted = asked(allow_origins=origins, keep_versions_days=days, **more)
    found = baseline_as(
        wanted, allowedOrigins=list(origins), keepVersionsDays=wanted.versions_days,
        serverless=wanted.serverless, freeTier=wanted.free_tier,
    )  # fmt: skip
    symbols = template("baseline").of("resource")
    made = {
        (each.type, found.full_name(name)): {
            key: value for key, value in found.body(name).items() if key not in _OF_BICEP
        }
        for name, each in symbols.items()
    }
    assert made == {(each.kind, each.name): dict(each.body) for each in resources(wanted)}


def test_the_throughput_of_the_template_is_that_of_the_setup() -> None:
    wanted = asked(max_throughput=4000)
    body = baseline_as(wanted, maxThroughput=4000).body("cosmosContainer")
    assert body["properties"] == resources(wanted)[-1].body["properties"]


def test_tags_that_are_given_come_beside_ours() -> None:
    found = baseline_as(asked(), moreTags={"Team": "Docs", "Environment": "mine"})
    wanted = {**default_tags("test"), "Team": "Docs", "Environment": "mine"}
    assert found.body("storageAccount")["tags"] == wanted


def test_the_container_has_what_the_driver_needs() -> None:
    resource = baseline_as(asked()).body("cosmosContainer")["properties"]["resource"]
    assert resource == container_definition("items")
    check_container(resource)


def test_the_container_has_every_index_that_a_family_is_in() -> None:
    resource = baseline_as(asked()).body("cosmosContainer")["properties"]["resource"]
    paths = {each["path"] for each in resource["indexingPolicy"]["includedPaths"]}
    used = {index for family in FAMILIES.values() for index in family.indexes}
    assert paths == {"/k/?"} | {f"/i{index.value}/?" for index in used}
    assert paths == {"/k/?"} | {f"/i{i.value}/?" for i in Index if i is not Index.BASE}


@pytest.mark.parametrize("name", ["baseline", "runtime"])
def test_the_templates_name_resources_as_init_does(name: str) -> None:
    found = Resolver(template(name), **(_PEOPLE if name == "runtime" else {}))
    selection: Any = backend_selection(provider="azure")
    storage, database = selection["storage"], selection["database"]
    given = {
        key: found.of(each.value)
        for key, each in template(name).of("param").items()
        if each.value is not None
    }
    assert given["storageAccountName"] == storage["account"]
    assert given["storageContainerName"] == storage["container"]
    assert given["cosmosAccountName"] == database["account"]
    assert given["cosmosDatabaseName"] == database["database"]
    assert given["cosmosContainerName"] == database["container"]


def test_everything_that_can_be_switched_to_identities_is() -> None:
    """No account keys anywhere."""
    found = {
        name: runtime(withConfiguration=True).body(name)["properties"]
        for name in ("configurationStore", "eventTopic", "communication")
    }
    assert {each["disableLocalAuth"] for each in found.values()} == {True}
    assert runtime().body("vault")["properties"]["enableRbacAuthorization"] is True
    logs = runtime().body("containerEnvironment")["properties"]["appLogsConfiguration"]
    assert logs == {"destination": "azure-monitor"}  # `log-analytics` takes a shared key


def test_the_vault_cannot_be_emptied() -> None:
    vault = runtime().body("vault")["properties"]
    assert (vault["enableSoftDelete"], vault["enablePurgeProtection"]) == (True, True)
    assert vault["softDeleteRetentionInDays"] == 90
    kinds = [each.type for each in template("runtime").of("resource").values()]
    assert "Microsoft.KeyVault/vaults/secrets" not in kinds  # a deployment would overwrite it


def test_the_topic_takes_cloud_events() -> None:
    topic = runtime().body("eventTopic")["properties"]
    assert topic["inputSchema"] == "CloudEventSchemaV1_0"


def assignments(source: Template) -> list[Declared]:
    return [each for each in source.of("resource").values() if "oleAssignments" in each.type]


def test_roles_of_the_identity_are_the_table_of_permissions() -> None:
    found = runtime(withConfiguration=True, registryName="images")
    made = {}
    for each in assignments(found.source):
        body = found.body(each.name)
        where = body.get("scope") or body["parent"]
        made[each.name] = (where, body["properties"]["roleDefinitionId"].rpartition("/")[2])
        assert body["properties"]["principalId"] == "identity.properties.principalId"
    wanted = {
        f"{grant.name.lower()}Role": (grant.resource, grant.definition.identifier)
        for service in SERVICES
        for grant in grants_of(service)
    }
    image = template("registry")
    pull = Resolver(image, registryName="images", principalId="p").body("imageRole")
    made["imageRole"] = (pull["scope"], pull["properties"]["roleDefinitionId"].rpartition("/")[2])
    assert made == wanted
    assert "imageRole" in found.source.of("module")


def test_narrower_roles_are_those_of_the_table_and_can_be_assigned() -> None:
    found = Resolver(template("roles"))
    for grant, actions in NARROWER.items():
        resource, parameter = f"{grant.lower()}Role", f"{grant.lower()}RoleId"
        (allowed,) = found.body(resource)["properties"]["permissions"]
        given = [*allowed["actions"], *allowed["dataActions"]]
        assert sorted(given) == sorted(actions)
        assert not any("*" in each or "delete" in each.lower() for each in given)
        of_data = all("vaults/secrets" in each for each in actions)
        assert bool(allowed["dataActions"]) == of_data
        role = found.output(parameter)
        assigned = runtime(**{parameter: role}).body(resource)
        assert assigned["properties"]["roleDefinitionId"].endswith(f"/{role}")
        # The role of an assignment never changes: another role is another assignment.
        assert assigned["name"] != runtime().body(resource)["name"]


@pytest.mark.parametrize("name", ["image", "frontImage"])
def test_images_are_named_by_their_digest(name: str) -> None:
    assert template("runtime").all[name].value is None, "there is no default"
    for moving in ("docker.io/library/caddy:2", "r.azurecr.io/caddy", "r.azurecr.io/caddy:sha256"):
        with pytest.raises(DeploymentRefused, match=f"{name}: .*digest"):
            containers(**{name: moving})
    pinned = "r.azurecr.io/caddy:2@sha256:" + "0" * 64
    assert pinned in {each["image"] for each in containers(**{name: pinned}).values()}


def test_a_grant_without_its_resource_is_not_given() -> None:
    conditional = {
        name for name in ("settingsRole", "imageRole", "configurationStore")
        if not runtime().is_made(name)
    }  # fmt: skip
    assert conditional == {"settingsRole", "imageRole", "configurationStore"}
    chosen = runtime(withConfiguration=True, registryName="images")
    for grant in GRANTS:
        name = f"{grant.name.lower()}Role"
        assert chosen.is_made(name)
        assert runtime().is_made(name) == (not grant.only_with), grant.name


def test_no_role_is_above_its_resource() -> None:
    """Roles of Cosmos DB are inside of the account; the others name their resource."""
    found = runtime()
    for each in assignments(found.source):
        body = found.body(each.name)
        if each.type.startswith("Microsoft.DocumentDB"):
            assert body["properties"]["scope"] == "cosmosAccount.id"
        else:
            assert isinstance(body["scope"], Reference)
    owners = {ROLES["management"].identifier, ROLES["assignments"].identifier}
    assert not owners & {grant.definition.identifier for grant in GRANTS}


def containers(**values: Any) -> dict[str, dict[str, Any]]:
    template_of_app = runtime(**values).body("app")["properties"]["template"]
    return {each["name"]: each for each in template_of_app["containers"]}


def variables(**values: Any) -> dict[str, str]:
    """As a deployment would fill them in."""
    known = {
        "eventTopic.properties.endpoint":
            "https://t.eastus-1.eventgrid.azure.net/api/events",
        "communication.properties.hostName": "w.europe.communication.azure.com",
        "emailDomain.properties.fromSenderDomain": "example.com",
        "containerEnvironment.properties.defaultDomain": "blue-sky.eastus.azurecontainerapps.io",
        "identity.properties.clientId": CLIENT,
    }  # fmt: skip
    found = {}
    given = {"entraTenantId": TENANT, "entraClientIds": CLIENT, **values}
    for each in containers(**given)["workspace"]["env"]:
        text = each["value"]
        for name, value in known.items():
            text = text.replace(name, value)
        found[each["name"]] = str(text)
    return found


def test_the_settings_of_the_container_are_settings(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    given = variables()
    assert "properties" not in json.dumps(given)
    ours = {name.removeprefix("WM_").lower() for name in given if name.startswith("WM_")}
    assert ours <= set(Settings.model_fields)
    assert set(given) - {f"WM_{name.upper()}" for name in ours} == {"AZURE_CLIENT_ID"}
    for name, value in given.items():
        monkeypatch.setenv(name, value)
    monkeypatch.chdir(tmp_path)
    settings = load_settings()
    assert (settings.records, settings.objects, settings.provider) == (
        "cosmos", "azure_blob", "azure",
    )  # fmt: skip
    assert (settings.events, settings.mail) == ("eventgrid", "communication")
    assert settings.mail_from == "DoNotReply@example.com"
    assert settings.public_url == (
        "https://workspace-dev.blue-sky.eastus.azurecontainerapps.io"
    )
    (issuer,) = settings.oidc_issuers
    assert TENANT in issuer.issuer
    assert parse_reference(settings.keys_secret) is not None


def test_ports_of_loopback_make_nobody_a_person_of_this_machine(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """The front is on loopback, and everybody comes through it."""
    for name, value in variables().items():
        monkeypatch.setenv(name, value)
    monkeypatch.chdir(tmp_path)
    settings = load_settings()
    assert settings.loopback_only
    stranger = Connection(provider="local", settings={"folder": str(tmp_path)})
    with pytest.raises(WorkspaceError, match="folder"):
        Reach.of(settings).check(stranger)


def test_mail_waits_for_the_domain() -> None:
    assert variables(mailDomain="example.com")["WM_MAIL"] == "off"
    assert variables(mailDomain="example.com", mailDomainVerified=True)["WM_MAIL"] == (
        "communication"
    )
    linked = runtime(mailDomain="example.com").body("communication")["properties"]
    assert linked["linkedDomains"] == []
    assert runtime().body("communication")["properties"]["linkedDomains"] == ["emailDomain.id"]


@pytest.mark.parametrize(
    ("cloud", "name"),
    [("AzureCloud", "public"), ("AzureUSGovernment", "usgovernment"),
     ("AzureChinaCloud", "china")],
)  # fmt: skip
def test_the_cloud_is_that_of_the_deployment(
    monkeypatch: pytest.MonkeyPatch, cloud: str, name: str
) -> None:
    monkeypatch.setattr(
        "tests.integration.azure.bicep._ENVIRONMENT", {"name": cloud, "suffixes": {}}
    )
    assert variables()["WM_AZURE_CLOUD"] == name


def test_ports_of_the_container_are_those_of_the_ingress() -> None:
    """Ingress -> front -> the two ports of the process."""
    app = runtime().body("app")["properties"]
    ingress, given = app["configuration"]["ingress"], variables()
    assert (ingress["transport"], ingress["allowInsecure"]) == ("http2", False)
    text = app["configuration"]["secrets"][0]["value"]
    assert re.findall(r"^http://:(\d+) \{$", text, re.MULTILINE) == [str(ingress["targetPort"])]
    assert f"reverse_proxy h2c://127.0.0.1:{given['WM_GRPC_PORT']} {{" in text
    assert f"reverse_proxy http://127.0.0.1:{given['WM_HTTP_PORT']} {{" in text
    assert given["WM_GRPC_HOST"] == given["WM_HTTP_HOST"] == "127.0.0.1"


def test_probes_ask_what_the_process_says() -> None:
    found = containers()
    port = runtime().body("app")["properties"]["configuration"]["ingress"]["targetPort"]
    asked_for = {
        each["type"]: (each["httpGet"]["port"], each["httpGet"]["path"])
        for each in found["workspace"]["probes"]
    }
    assert asked_for == {
        "Startup": (port, "/readyz"), "Readiness": (port, "/readyz"),
        "Liveness": (port, "/healthz"),
    }  # fmt: skip
    (alive,) = found["front"]["probes"]
    assert alive["tcpSocket"] == {"port": port}
    for each in (*found["workspace"]["probes"], alive):  # limits of the published types
        assert 1 <= each["failureThreshold"] <= 10
        assert 1 <= each["timeoutSeconds"] < each["periodSeconds"] <= 240


def test_a_replica_has_time_to_drain() -> None:
    given = variables()
    seconds = float(given["WM_DRAIN_DELAY"]) + float(given["WM_DRAIN_GRACE"])
    app = runtime().body("app")["properties"]
    assert seconds < app["template"]["terminationGracePeriodSeconds"]


def test_the_front_reads_our_file() -> None:
    app, front = runtime().body("app")["properties"], containers()["front"]
    volume = next(each for each in app["template"]["volumes"] if each["name"] == "front")
    (secret,), (mount,) = volume["secrets"], front["volumeMounts"]
    assert app["configuration"]["secrets"][0]["name"] == secret["secretRef"]
    assert f"{mount['mountPath']}/{secret['path']}" in front["command"]


def test_resources_of_a_replica_are_a_size_that_there_is() -> None:
    """Container Apps, "Containers: vCPU and memory allocation": 0.25 with 0.5 Gi, ..."""
    sizes = [each["resources"] for each in containers().values()]
    cpu = sum(each["cpu"] for each in sizes)
    memory = sum(float(each["memory"].removesuffix("Gi")) for each in sizes)
    assert (cpu / 0.25).is_integer()
    assert memory == 2 * cpu


def test_traffic_between_ingress_and_replicas_is_encrypted() -> None:
    properties = runtime().body("containerEnvironment")["properties"]
    assert properties["peerTrafficConfiguration"] == {"encryption": {"enabled": True}}


def test_a_cluster_can_be_the_same_identity() -> None:
    assert not runtime().is_made("federation")
    found = runtime(federatedIssuer="https://issuer", federatedSubject="system:serviceaccount:a:b")
    assert found.is_made("federation")
    assert found.body("federation")["properties"] == {
        "issuer": "https://issuer", "subject": "system:serviceaccount:a:b",
        "audiences": ["api://AzureADTokenExchange"],
    }  # fmt: skip


def test_the_registration_is_what_the_verifier_takes() -> None:
    """Tokens of version 2 for one tenant, and with them what says whether an address counts."""
    source = template("registration")
    extensions = json.loads((FOLDER / "bicepconfig.json").read_text())["extensions"]
    assert source.extensions == list(extensions)
    body = Resolver(source).body("application")
    assert body["api"]["requestedAccessTokenVersion"] == 2
    assert EntraSettings(tenant_id=TENANT, client_ids=(CLIENT,)).token_version == "2.0"
    assert body["signInAudience"] == "AzureADMyOrg"
    claims = body["optionalClaims"]
    assert set(claims) == {"accessToken", "idToken"}
    for found in claims.values():
        assert {each["name"] for each in found} == {"email", "xms_edov", "acct"}
    assert not {"passwordCredentials", "keyCredentials"} & set(body)
    (scope,) = body["api"]["oauth2PermissionScopes"]
    assert Resolver(source).output("scope") == f"{body['identifierUris'][0]}/{scope['value']}"
    assert body["api"]["preAuthorizedApplications"] == [
        {"appId": "04b07795-8ddb-461a-bbee-02f9e1bf7b46", "delegatedPermissionIds": [scope["id"]]}
    ]


def test_outputs_are_what_settings_take() -> None:
    found = runtime()
    assert found.output("keysSecret") == variables()["WM_KEYS_SECRET"]
    assert found.output("eventTopicEndpoint") == "eventTopic.properties.endpoint"
    made = baseline_as(asked())
    assert made.output("storageAccountName") == "wmtestdocs"
    assert made.output("cosmosContainerName") == "items"
