"""Replicas, disruption, rollouts, and the order of an upgrade."""

from __future__ import annotations

from typing import Any

import pytest

from tests.deploy.chart import CASES, TARGETS, named, needs_helm, of_kind, render, selected

pytestmark = needs_helm


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("target", TARGETS)
def test_replicas_are_set_by_one_of_two(case: str, target: str) -> None:
    objects = render(case)
    deployment = named(objects, "Deployment", target)
    name = deployment["metadata"]["name"]
    scalers = [
        each
        for each in of_kind(objects, "HorizontalPodAutoscaler")
        if each["spec"]["scaleTargetRef"]["name"] == name
    ]
    assert ("replicas" in deployment["spec"]) == (not scalers)
    for scaler in scalers:
        assert scaler["spec"]["scaleTargetRef"]["apiVersion"] == deployment["apiVersion"]
        assert scaler["spec"]["minReplicas"] <= scaler["spec"]["maxReplicas"]
        assert scaler["spec"]["metrics"]
        limits = deployment["spec"]["template"]["spec"]["containers"][0]["resources"]
        assert limits["requests"]["cpu"]


def test_some_cases_scale_by_themselves() -> None:
    """Control of the test above."""
    for case, count in (("aws-values.yaml", 5), ("minimal-values.yaml", 0)):
        assert len(of_kind(render(case), "HorizontalPodAutoscaler")) == count


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("target", TARGETS)
def test_a_drain_of_a_node_goes_on_and_leaves_somebody(case: str, target: str) -> None:
    objects = render(case)
    budget = named(objects, "PodDisruptionBudget", target)["spec"]
    deployment = named(objects, "Deployment", target)["spec"]
    assert selected(deployment["template"]["metadata"]["labels"], budget["selector"])
    assert "minAvailable" not in budget
    least = _least(objects, target)
    assert budget["maxUnavailable"] >= 1
    assert budget["maxUnavailable"] < least or least == 1


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("target", TARGETS)
def test_rollouts_never_have_less_than_before(case: str, target: str) -> None:
    strategy = named(render(case), "Deployment", target)["spec"]["strategy"]
    assert strategy == {
        "type": "RollingUpdate", "rollingUpdate": {"maxUnavailable": 0, "maxSurge": 1},
    }  # fmt: skip


def test_a_disruption_budget_can_be_left_out() -> None:
    objects = render("minimal-values.yaml", "targets.relay.disruptionBudget.enabled=false")
    assert len(of_kind(objects, "PodDisruptionBudget")) == len(TARGETS) - 1


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("target", TARGETS)
def test_replicas_are_spread_over_zones_and_nodes(case: str, target: str) -> None:
    objects = render(case)
    template = named(objects, "Deployment", target)["spec"]["template"]
    spread = template["spec"].get("topologySpreadConstraints", [])
    if case == "secrets-values.yaml":
        assert not spread
        return
    keys = ["topology.kubernetes.io/zone", "kubernetes.io/hostname"]
    assert [each["topologyKey"] for each in spread] == keys
    for each in spread:
        assert selected(template["metadata"]["labels"], each["labelSelector"])
        wanted = "DoNotSchedule" if case == "aws-values.yaml" else "ScheduleAnyway"
        assert each["whenUnsatisfiable"] == wanted


@pytest.mark.parametrize("count", [1, 2])
def test_one_relay_is_fine_and_so_are_two(count: int) -> None:
    objects = render("minimal-values.yaml", f"targets.relay.replicas={count}")
    assert named(objects, "Deployment", "relay")["spec"]["replicas"] == count


@pytest.mark.parametrize("case", ["minimal-values.yaml", "everything-values.yaml"])
def test_tables_are_migrated_before_anything_else(case: str) -> None:
    objects = render(case)
    job = named(objects, "Job", "migration")
    assert job["spec"]["template"]["spec"]["containers"][0]["args"] == ["migrate"]
    assert job["metadata"]["annotations"]["helm.sh/hook"] == "pre-install,pre-upgrade"
    spec = job["spec"]["template"]["spec"]
    assert spec["restartPolicy"] == "Never"
    assert job["spec"]["activeDeadlineSeconds"] > 0
    needed = {
        ("ServiceAccount", spec["serviceAccountName"]),
        ("NetworkPolicy", "wm-workspace-migration"),
    }
    weight = int(job["metadata"]["annotations"]["helm.sh/hook-weight"])
    for kind, name in needed:
        found = next(e for e in of_kind(objects, kind) if e["metadata"]["name"] == name)
        notes = found["metadata"]["annotations"]
        assert notes["helm.sh/hook"] == "pre-install,pre-upgrade"
        assert int(notes["helm.sh/hook-weight"]) < weight
    hooks = {
        e["metadata"]["name"]
        for e in objects
        if "helm.sh/hook" in e["metadata"].get("annotations", {})
    }
    assert not _references(spec) - hooks - _existing(case)


def test_processes_leave_the_tables_alone() -> None:
    objects = render("minimal-values.yaml")
    assert {named(objects, "ConfigMap", t)["data"]["WM_MIGRATE_AT_START"] for t in TARGETS} == {
        "false"
    }


@pytest.mark.parametrize("case", ["aws-values.yaml", "azure-values.yaml"])
def test_stores_without_tables_have_no_job(case: str) -> None:
    assert not of_kind(render(case), "Job")


def test_the_owner_of_the_tables_may_be_another_user() -> None:
    objects = render("everything-values.yaml")
    env = named(objects, "Job", "migration")["spec"]["template"]["spec"]["containers"][0]["env"]
    dsn = [each for each in env if each["name"] == "WM_RECORDS_DSN"]
    assert [each["valueFrom"]["secretKeyRef"]["name"] for each in dsn] == ["workspace-owner"]


def _least(objects: Any, target: str) -> int:
    scalers = {each["spec"]["scaleTargetRef"]["name"]: each["spec"]["minReplicas"]
               for each in of_kind(objects, "HorizontalPodAutoscaler")}  # fmt: skip
    deployment = named(objects, "Deployment", target)
    return int(scalers.get(deployment["metadata"]["name"]) or deployment["spec"]["replicas"])


def _references(spec: Any) -> set[str]:
    """Names of Secrets, ConfigMaps and accounts that a pod cannot start without."""
    found = {spec["serviceAccountName"]}
    for container in spec["containers"]:
        for each in container.get("env", ()):
            if "valueFrom" in each:
                found.add(each["valueFrom"]["secretKeyRef"]["name"])
        found |= {each["configMapRef"]["name"] for each in container.get("envFrom", ())}
    for volume in spec["volumes"]:
        found |= {volume[kind].get("name") or volume[kind].get("secretName")
                  for kind in ("configMap", "secret") if kind in volume}  # fmt: skip
    return found


def _existing(case: str) -> set[str]:
    """What the values say that it is there already."""
    if case == "minimal-values.yaml":
        return {"workspace-postgres", "workspace-objects"}
    return {"workspace-owner", "workspace-trust"}
