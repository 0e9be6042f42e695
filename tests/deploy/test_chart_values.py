"""Values that are wrong are refused before anything is changed, each by its name."""

from __future__ import annotations

import json

import pytest

from services.settings import Settings
from tests.deploy.chart import Refused, named, needs_helm, render
from tests.deploy.settings_schema import DECIDED, SCHEMA, SECRETS, settings_schema

pytestmark = needs_helm

_WRONG = {
    # A field that is not there, or of the wrong kind: values.schema.json.
    "an unknown value": ("replica=3", "replica"),
    "an unknown target": ("targets.mail={}", "mail"),
    "a misspelt setting": ('settings.aws_s3_bukket="a"', "aws_s3_bukket"),
    "a setting of one target, misspelt": (
        'targets.sync.settings={"log": "x"}',
        "/targets/sync/settings",
    ),
    "a setting that the chart decides": ("settings.grpc_port=1", "grpc_port"),
    "no registry": ('image.repository=""', "/image/repository"),
    "a tag in the repository's place": ('image.digest="latest"', "/image/digest"),
    "links without TLS": ('publicUrl="http://workspace.example.com"', "/publicUrl"),
    "a path in the public URL": ('publicUrl="https://example.com/app"', "/publicUrl"),
    "a store that ends with its pod": ('settings.records="sqlite"', "/settings/records"),
    "files that end with their pod": ('settings.objects="filesystem"', "/settings/objects"),
    "a secret among settings": (
        'settings.records_dsn="postgresql://me:pass@db/w"',
        "/settings/records_dsn",
    ),
    "a secret as text": ('secretEnv.WM_RECORDS_DSN="postgresql://db"', "/secretEnv/WM_RECORDS_DSN"),
    "a secret without key": (
        'secretEnv.WM_RECORDS_DSN={"name": "a", "key": null}',
        "/secretEnv/WM_RECORDS_DSN",
    ),
    "a variable that is no secret": (
        'secretEnv.WM_LOG_LEVEL={"name": "a", "key": "b"}',
        "WM_LOG_LEVEL",
    ),
    "no replicas": ("targets.project.replicas=0", "/targets/project/replicas"),
    "half a replica": ("defaults.replicas=1.5", "/defaults/replicas"),
    "a drain without end": ("drain.grace=600", "/drain/grace"),
    "a low port": ("ports.grpc=443", "/ports/grpc"),
    "certificates by a third way": ('certificates.mode="self"', "/certificates/mode"),
    "a name that is none": ('certificates.trustDomain="Prod"', "/certificates/trustDomain"),
    "a duration without unit": (
        'certificates.certManager.duration="90"',
        "/certificates/certManager/duration",
    ),
    "keys in a variable": ('keys={"secret": "env:KEYS", "existingSecret": ""}', "/keys/secret"),
    "a Service on each node": ('gateway.service.type="NodePort"', "/gateway/service/type"),
    "a rule without ports": (
        'networkPolicy.egress.records=[{"to": []}]',
        "/networkPolicy/egress/records",
    ),
    "a misspelt rule": ("networkPolicy.egress.database=[]", "database"),
    "a range that is none": ('networkPolicy.clients=[{"ipBlock": {"cidr": "10.0.0.0"}}]', "cidr"),
    "a setting of the wrong type": ('settings.trash_days="thirty"', "/settings/trash_days"),
    "a setting out of its range": ("settings.trash_days=0", "/settings/trash_days"),
    # What depends on something else: templates/_validate.tpl.
    "two connection strings": (
        'settings.records_dsn="secretsmanager:x"',
        "settings.records_dsn: secretEnv.WM_RECORDS_DSN",
    ),
    "no bucket": ('settings.aws_s3_bucket=""', "settings.aws_s3_bucket: is needed"),
    "no region": ('settings.aws_region=""', "settings.aws_region: is needed"),
    "no table": ('settings.records="dynamodb"', "settings.aws_dynamodb_table: is needed"),
    "no account": ('settings.objects="azure_blob"', "settings.azure_storage_account: is needed"),
    "no mail server": ('settings.mail="smtp"', "settings.smtp_host: is needed"),
    "keys of two places": (
        'keys={"secret": "ssm:/a", "existingSecret": "b"}',
        "keys.secret and keys.existingSecret",
    ),
    "keys of no place": (
        'keys={"secret": "", "existingSecret": ""}',
        "keys: replicas have to share",
    ),
    "no certificates": ('certificates.mode="secrets"', "certificates.secrets.identity: is needed"),
    "a renewal before the begin": (
        'certificates.certManager.renewBefore="2160h"',
        "certificates.certManager.renewBefore: is 2160h",
    ),
    "least above most": (
        'targets.sync.autoscaling={"enabled": true, "minReplicas": 9}',
        "targets.sync.autoscaling.minReplicas: is 9",
    ),
    "scaling by nothing": (
        'targets.sync.autoscaling={"enabled": true, "cpuPercent": null}',
        "targets.sync.autoscaling: needs cpuPercent or metrics",
    ),
    "scaling by a share of nothing": (
        'defaults={"autoscaling": {"enabled": true}, "resources": {"requests": {"cpu": null}}}',
        "targets.sync.resources.requests.cpu: is needed",
    ),
    "a relay that scales": (
        'targets.relay.autoscaling={"enabled": true}',
        "targets.relay.autoscaling.enabled",
    ),
    "an account that nobody makes": (
        'targets.sync.serviceAccount={"create": false}',
        "targets.sync.serviceAccount.name: is needed",
    ),
    "a budget for all": (
        'targets.sync.disruptionBudget={"maxUnavailable": 2}',
        "targets.sync.disruptionBudget.maxUnavailable: is 2 of 2",
    ),
    "a setting as variable": (
        'defaults.extraEnv=[{"name": "WM_LOG_LEVEL", "value": "debug"}]',
        "WM_LOG_LEVEL belongs into settings.log_level",
    ),
    "a certificate for no name": (
        'gateway.tls.issuerRef={"name": "a", "kind": "Issuer", "group": "cert-manager.io"}',
        "gateway.tls.dnsNames: are needed",
    ),
    "an ingress for nobody": ("gateway.ingress.enabled=true", "gateway.ingress: needs http.host"),
    "routes of nobody": ("gateway.routes.enabled=true", "gateway.routes.parentRefs: is needed"),
    "one name for two kinds of routes": (
        'gateway.routes={"enabled": true, "parentRefs": [{"name": "a"}], '
        '"http": {"hostnames": ["a.example"]}, "grpc": {"hostnames": ["a.example"]}}',
        "gateway.routes.grpc.hostnames: a.example",
    ),
}


@pytest.mark.parametrize("name", _WRONG)
def test_what_is_wrong_is_named(name: str) -> None:
    given, words = _WRONG[name]
    with pytest.raises(Refused) as refused:
        render("minimal-values.yaml", given)
    assert words in str(refused.value)
    assert "nil pointer" not in str(refused.value)


def test_postgresql_needs_a_connection_string() -> None:
    with pytest.raises(Refused, match=r"secretEnv\.WM_RECORDS_DSN: is needed"):
        render("aws-values.yaml", 'settings.records="postgresql"')


def test_all_that_is_wrong_is_told_at_once() -> None:
    with pytest.raises(Refused) as refused:
        render("minimal-values.yaml", 'settings.aws_s3_bucket=""', "gateway.routes.enabled=true")
    assert "settings.aws_s3_bucket" in str(refused.value)
    assert "gateway.routes.parentRefs" in str(refused.value)


@pytest.mark.parametrize("value", ["image", "publicUrl", "settings", "keys"])
def test_nothing_is_guessed_that_has_to_be_said(value: str) -> None:
    with pytest.raises(Refused, match=value):
        render("minimal-values.yaml", f"{value}=null")


def test_the_schema_has_the_settings_of_the_code() -> None:
    """`python -m tests.deploy.settings_schema` mends it."""
    schema = json.loads(SCHEMA.read_text(encoding="utf-8"))
    assert schema["definitions"]["settings"] == settings_schema()


def test_each_setting_is_taken_or_decided_by_the_chart() -> None:
    taken = set(settings_schema()["properties"])
    assert taken | set(DECIDED) == set(Settings.model_fields)
    assert not taken & set(DECIDED)
    assert {"records_dsn", "smtp_password"} == SECRETS


def test_a_target_has_its_own_settings_before_those_of_all() -> None:
    objects = render(
        "minimal-values.yaml", 'settings.log_level="warning"',
        'targets.sync.settings={"log_level": "debug"}',
    )  # fmt: skip
    levels = {name: named(objects, "ConfigMap", name)["data"]["WM_LOG_LEVEL"]
              for name in ("sync", "project")}  # fmt: skip
    assert levels == {"sync": "debug", "project": "warning"}
