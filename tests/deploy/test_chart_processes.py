"""The variables of each pod, given to the code that reads them there."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Any

import pytest

from services.config import load_settings
from services.processes.targets import Target, Targets, service_identity
from services.settings import Settings
from tests.deploy.chart import CASES, TARGETS, environment, named, needs_helm, of_kind, render

pytestmark = needs_helm
_ROOT = Path(__file__).parents[2]
_METRIC = re.compile(r"workspace_[a-z_]+")


def _settings(case: str, target: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> Settings:
    for name in list(os.environ):
        if name.startswith(("WM_", "AWS_", "AZURE_")):
            monkeypatch.delenv(name)
    for name, value in environment(render(case), target).items():
        monkeypatch.setenv(name, value)
    monkeypatch.chdir(folder)
    return load_settings()


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("target", TARGETS)
def test_a_process_takes_its_settings(
    case: str, target: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = _settings(case, target, tmp_path, monkeypatch)
    targets = Targets.parse(settings.targets)
    assert targets.chosen == {Target(target)}
    assert settings.public_url.startswith("https://workspace.example.com")
    assert not settings.migrate_at_start
    assert settings.probe_port
    if targets.has_stores:
        assert settings.records in ("postgresql", "dynamodb", "cosmos")
        assert settings.objects in ("s3", "azure_blob")
    for peer in targets.peers:
        assert getattr(settings, f"peer_{peer}")
    if targets.peers:
        assert settings.peer_ca
    if targets.served:
        assert settings.tls_client_ca == settings.peer_ca
    if targets.publishes:
        assert settings.tls_client_ca is None, "people have no certificates"
        assert settings.peer_certificate
        assert settings.peer_key


@pytest.mark.parametrize("case", CASES)
def test_keys_are_shared_by_one_way(case: str) -> None:
    for target in set(TARGETS) - {"gateway"}:
        objects = render(case)
        spec = named(objects, "Deployment", target)["spec"]["template"]["spec"]
        copied = [each["name"] for each in spec.get("initContainers", ())] == ["keys"]
        assert copied != ("WM_KEYS_SECRET" in environment(objects, target))


@pytest.mark.parametrize(
    "case", ["minimal-values.yaml", "aws-values.yaml", "everything-values.yaml"]
)
def test_certificates_have_the_names_that_are_checked(case: str) -> None:
    objects = render(case)
    domain = environment(objects, "identity")["WM_PEER_TRUST_DOMAIN"]
    authority = {
        "minimal-values.yaml": "wm-workspace-authority",
        "aws-values.yaml": "wm-workspace-authority",
    }
    for target in set(TARGETS) - {"relay"}:
        spec = named(objects, "Certificate", target)["spec"]
        assert spec["uris"] == [service_identity(domain, Target(target))]
        assert spec["privateKey"]["rotationPolicy"] == "Always"
        assert {"server auth", "client auth"} <= set(spec["usages"])
        assert spec["issuerRef"]["name"] == authority.get(case, "internal")
        assert _mounted(objects, target, "certificate") == spec["secretName"]
    for target in TARGETS:
        for name, value in environment(objects, target).items():
            if value.startswith("dns:///"):
                peer = name.removeprefix("WM_PEER_").lower()
                host = value.removeprefix("dns:///").rpartition(":")[0]
                assert host in named(objects, "Certificate", peer)["spec"]["dnsNames"]


def test_the_authority_of_the_chart_signs_what_it_is_asked_for() -> None:
    objects = render("minimal-values.yaml")
    authority = named(objects, "Certificate", "authority")["spec"]
    assert authority["isCA"]
    assert authority["issuerRef"]["name"] == "wm-workspace-selfsigned"
    assert "selfSigned" in named(objects, "Issuer", "selfsigned")["spec"]
    assert (
        named(objects, "Issuer", "authority")["spec"]["ca"]["secretName"] == authority["secretName"]
    )


def test_certificates_of_others_are_left_to_them() -> None:
    objects = render("secrets-values.yaml")
    assert not of_kind(objects, "Certificate")
    assert not of_kind(objects, "Issuer")
    assert _mounted(objects, "sync", "certificate") == "workspace-sync-tls"


@pytest.mark.parametrize(
    ("case", "secret"),
    [("everything-values.yaml", "public-tls"), ("aws-values.yaml", "wm-workspace-published-tls")],
)
def test_clients_see_the_published_certificate_and_peers_ours(case: str, secret: str) -> None:
    objects = render(case)
    given = environment(objects, "gateway")
    assert given["WM_TLS_CERTIFICATE"] == "/etc/workspace/published/tls.crt"
    assert given["WM_PEER_CERTIFICATE"] == "/etc/workspace/certificate/tls.crt"
    assert _mounted(objects, "gateway", "published") == secret
    assert _mounted(objects, "gateway", "certificate") == "wm-workspace-gateway-tls"


def test_a_bundle_replaces_the_authority_of_each_secret() -> None:
    objects = render("everything-values.yaml")
    for target in set(TARGETS) - {"relay"}:
        assert environment(objects, target)["WM_PEER_CA"] == "/etc/workspace/authority/bundle.pem"
        assert _mounted(objects, target, "authority") == "internal-authorities"


def test_workload_identity_is_where_its_webhooks_look() -> None:
    objects = render("azure-values.yaml")
    for target in TARGETS:
        template = named(objects, "Deployment", target)["spec"]["template"]
        used = template["metadata"]["labels"]["azure.workload.identity/use"]
        assert used == ("false" if target == "gateway" else "true")
        account = named(objects, "ServiceAccount", target)
        assert template["spec"]["serviceAccountName"] == account["metadata"]["name"]
        assert account["metadata"]["annotations"]["azure.workload.identity/client-id"]


def test_metrics_are_read_from_each_target() -> None:
    objects = render("everything-values.yaml")
    monitor = of_kind(objects, "ServiceMonitor")[0]["spec"]
    wanted, port = monitor["selector"]["matchLabels"].items(), monitor["endpoints"][0]["port"]
    found = [
        each
        for each in of_kind(objects, "Service")
        if wanted <= each["metadata"]["labels"].items()
        and any(open_["name"] == port for open_ in each["spec"]["ports"])
    ]
    assert len(found) == len(TARGETS)


def test_alerts_look_at_metrics_that_there_are() -> None:
    rules = of_kind(render("everything-values.yaml"), "PrometheusRule")[0]["spec"]["groups"][0]
    asked = {name for rule in rules["rules"] for name in _METRIC.findall(rule["expr"])}
    sources = "".join(path.read_text() for path in (_ROOT / "services").rglob("*.py"))
    made = set(re.findall(r'"(workspace_[a-z_]+)"', sources))
    assert len(asked) == 4
    assert {name.removesuffix("_total") for name in asked} <= made


def _mounted(objects: Any, target: str, volume: str) -> str:
    spec = named(objects, "Deployment", target)["spec"]["template"]["spec"]
    found = next(each for each in spec["volumes"] if each["name"] == volume)
    source = found.get("secret", {}).get("secretName") or found.get("configMap", {}).get("name")
    return str(source)
