"""What runs: restricted, probed, with the right variables and no more secrets than needed."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from services.objects.keyring import Keyring, Purpose
from services.rpc.health import LIVENESS
from services.secrets.key_files import KEY_FILES, install_keys, new_keys
from services.settings import Settings
from tests.deploy.chart import (
    CASES,
    TARGETS,
    containers,
    environment,
    named,
    needs_helm,
    of_kind,
    pods,
    render,
)

pytestmark = needs_helm
_ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize("case", CASES)
def test_every_pod_and_container_is_restricted(case: str) -> None:
    """The Pod Security Standard `restricted`, and a read-only root."""
    found = 0
    for name, spec in pods(render(case)):
        pod = spec["securityContext"]
        assert pod["runAsNonRoot"], name
        assert pod["runAsUser"] == pod["runAsGroup"] == pod["fsGroup"] == 10001, name
        assert pod["seccompProfile"] == {"type": "RuntimeDefault"}, name
        assert not {"hostNetwork", "hostPID", "hostIPC"} & set(spec), name
        assert spec["automountServiceAccountToken"] is False, name
        assert spec["enableServiceLinks"] is False, name
        kinds = {key for volume in spec.get("volumes", ()) for key in volume} - {"name"}
        assert kinds <= {"emptyDir", "secret", "configMap"}, name
    for name, container in containers(render(case)):
        context = container["securityContext"]
        assert context["readOnlyRootFilesystem"] is True, name
        assert context["allowPrivilegeEscalation"] is False, name
        assert context["privileged"] is False, name
        assert context["capabilities"] == {"drop": ["ALL"]}, name
        assert context["seccompProfile"] == {"type": "RuntimeDefault"}, name
        assert {"cpu", "memory"} <= set(container["resources"]["requests"]), name
        assert "memory" in container["resources"]["limits"], name
        found += 1
    assert found >= 12


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("target", TARGETS)
def test_probes_ask_the_port_that_is_without_tls(case: str, target: str) -> None:
    objects = render(case)
    container = _container(objects, target)
    port = int(environment(objects, target)["WM_PROBE_PORT"])
    ports = {each["name"]: each["containerPort"] for each in container["ports"]}
    assert ports["probe"] == port
    assert container["startupProbe"]["grpc"] == {"port": port, "service": LIVENESS}
    assert container["livenessProbe"]["grpc"] == {"port": port, "service": LIVENESS}
    assert container["readinessProbe"]["grpc"] == {"port": port}


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("target", TARGETS)
def test_ports_are_those_that_the_process_opens(case: str, target: str) -> None:
    objects = render(case)
    given = environment(objects, target)
    ports = {
        each["name"]: str(each["containerPort"]) for each in _container(objects, target)["ports"]
    }
    wanted = {"probe": given["WM_PROBE_PORT"], "metrics": given["WM_METRICS_PORT"]}
    if target != "relay":
        wanted["grpc"] = given["WM_GRPC_PORT"]
    if target == "gateway":
        wanted["https"] = given["WM_HTTP_PORT"]
    assert ports == wanted
    assert len(set(ports.values())) == len(ports)
    assert ("WM_HTTP_HOST" in given) == (target == "gateway")


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("target", TARGETS)
def test_a_drain_ends_before_the_process_is_killed(case: str, target: str) -> None:
    objects = render(case)
    given = environment(objects, target)
    spec = named(objects, "Deployment", target)["spec"]["template"]["spec"]
    drain = float(given["WM_DRAIN_DELAY"]) + float(given["WM_DRAIN_GRACE"])
    assert drain + 5 <= spec["terminationGracePeriodSeconds"] <= drain + 20
    readiness = spec["containers"][0]["readinessProbe"]
    unready = readiness["periodSeconds"] * readiness["failureThreshold"]
    assert unready <= spec["terminationGracePeriodSeconds"]


@pytest.mark.parametrize("case", CASES)
def test_every_variable_is_a_setting(case: str) -> None:
    objects = render(case)
    known = {f"WM_{name.upper()}" for name in Settings.model_fields}
    ours = {name for target in TARGETS for name in environment(objects, target)}
    ours |= {each["name"] for _, c in containers(objects) for each in c.get("env", ())}
    assert {name for name in ours if name.startswith("WM_")} - known == set()
    assert len(ours) > 25


@pytest.mark.parametrize("case", CASES)
def test_the_gateway_has_no_stores_no_keys_and_no_secrets(case: str) -> None:
    objects = render(case)
    given = environment(objects, "gateway")
    assert not {name for name, value in given.items() if value.startswith("<")}
    words = (
        "RECORDS",
        "OBJECTS",
        "DSN",
        "KEYS",
        "DYNAMODB",
        "COSMOS",
        "SMTP",
        "AZURE",
        "AWS_ACCESS",
    )
    assert not {name for name in given for word in words if word in name}
    buckets = {name for name in given if name.startswith("WM_AWS_")}
    assert bool(buckets) == ("WM_OBJECT_PROXY" in given)
    spec = named(objects, "Deployment", "gateway")["spec"]["template"]["spec"]
    assert "initContainers" not in spec
    assert {each["name"] for each in spec["volumes"]} <= {
        "data", "tmp", "certificate", "authority", "published",
    }  # fmt: skip


def test_who_gets_which_secret() -> None:
    objects = render("secrets-values.yaml")
    have = {
        target: {n for n, v in environment(objects, target).items() if v.startswith("<")}
        for target in TARGETS
    }
    store = {"WM_RECORDS_DSN", "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"}
    assert have == {
        **dict.fromkeys(TARGETS, store), "gateway": set(), "relay": store | {"WM_SMTP_PASSWORD"},
    }  # fmt: skip


def test_the_password_of_mail_is_for_the_relay_alone() -> None:
    objects = render("aws-values.yaml", 'settings.smtp_password="secretsmanager:mail"')
    have = {target for target in TARGETS if "WM_SMTP_PASSWORD" in environment(objects, target)}
    assert have == {"relay"}


def test_a_target_takes_back_what_all_others_get() -> None:
    objects = render(
        "everything-values.yaml", 'targets.sync={"extraEnv": [], "priorityClassName": ""}'
    )
    assert "OTEL_EXPORTER_OTLP_ENDPOINT" not in environment(objects, "sync")
    assert "OTEL_EXPORTER_OTLP_ENDPOINT" in environment(objects, "project")
    specs = {t: named(objects, "Deployment", t)["spec"]["template"]["spec"] for t in TARGETS}
    assert {t for t in TARGETS if "priorityClassName" not in specs[t]} == {"sync"}


@pytest.mark.case("Y06")
@pytest.mark.parametrize("case", CASES)
def test_no_secret_is_in_a_config_map(case: str) -> None:
    for each in of_kind(render(case), "ConfigMap"):
        assert not {"WM_SMTP_PASSWORD", "AWS_SECRET_ACCESS_KEY"} & set(each["data"])
        assert "://" not in each["data"].get("WM_RECORDS_DSN", "")


@pytest.mark.parametrize("case", CASES)
def test_mounts_are_whole_folders_of_volumes_that_are_there(case: str) -> None:
    """With subPath kubelet would never replace a certificate that was renewed."""
    for name, spec in pods(render(case)):
        volumes = {each["name"] for each in spec.get("volumes", ())}
        mounted = set()
        for container in (*spec.get("initContainers", ()), *spec["containers"]):
            for mount in container.get("volumeMounts", ()):
                assert not {"subPath", "subPathExpr"} & set(mount), name
                mounted.add(mount["name"])
        assert mounted == volumes, name


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("target", TARGETS)
def test_files_that_variables_name_are_mounted(case: str, target: str) -> None:
    objects = render(case)
    container = _container(objects, target)
    folders = [f"{mount['mountPath']}/" for mount in container["volumeMounts"]]
    files = [value for name, value in environment(objects, target).items()
             if name.startswith("WM_") and value.startswith("/etc/")]  # fmt: skip
    assert all(any(file.startswith(folder) for folder in folders) for file in files)
    assert bool(files) == (target != "relay" or case == "everything-values.yaml")


def test_a_changed_setting_replaces_the_pods_of_its_target_alone() -> None:
    before = render("minimal-values.yaml")
    after = render("minimal-values.yaml", 'targets.sync.settings={"log_level": "debug"}')
    changed = {t for t in TARGETS if _checksum(before, t) != _checksum(after, t)}
    assert changed == {"sync"}


def test_whole_numbers_stay_whole() -> None:
    """YAML makes them floats: 8388608 would be 8.388608e+06."""
    given = environment(render("secrets-values.yaml"), "storage")
    assert given["WM_MAX_MESSAGE_BYTES"] == "8388608"


def test_a_digest_wins_over_a_tag() -> None:
    images = {c["image"] for _, c in containers(render("aws-values.yaml", 'image.tag="2.0.0"'))}
    assert len(images) == 1
    assert images.pop().startswith("registry.example/workspace@sha256:0123")


def test_key_files_of_a_secret_become_files_that_the_process_takes(tmp_path: Path) -> None:
    """The init container's own program, on a folder as kubelet mounts a Secret: links."""
    mounted, data = tmp_path / "mounted", tmp_path / "data"
    install_keys(tmp_path / "made", new_keys())
    (mounted / "..2026").mkdir(parents=True)
    for name in KEY_FILES:
        (mounted / "..2026" / name).write_bytes((tmp_path / "made" / name).read_bytes())
        (mounted / name).symlink_to(Path("..2026") / name)
    data.mkdir()
    _copy_keys(mounted, data)
    _copy_keys(mounted, data)  # the pod may start again on the same folder
    assert Keyring.open(data / "keys", create=False).current(Purpose.UPLOAD)

    (mounted / KEY_FILES[0]).unlink()
    with pytest.raises(subprocess.CalledProcessError):
        _copy_keys(mounted, data)


def _copy_keys(mounted: Path, data: Path) -> None:
    objects = render("minimal-values.yaml")
    spec = named(objects, "Deployment", "storage")["spec"]["template"]["spec"]
    init = spec["initContainers"][0]
    python, *options, program = init["command"]
    assert python == "python"
    places = {each["name"]: each["mountPath"] for each in init["volumeMounts"]}
    program = program.replace(places["keys"], str(mounted)).replace(places["data"], str(data))
    subprocess.run([sys.executable, *options, program], cwd=_ROOT, check=True, capture_output=True)


def _container(objects: Any, target: str) -> Any:
    return named(objects, "Deployment", target)["spec"]["template"]["spec"]["containers"][0]


def _checksum(objects: Any, target: str) -> str:
    metadata = named(objects, "Deployment", target)["spec"]["template"]["metadata"]
    return str(metadata["annotations"]["checksum/config"])
