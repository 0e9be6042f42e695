"""What the chart renders is what Kubernetes takes: linted, and checked strictly."""

from __future__ import annotations

import copy
from typing import Any

import pytest

from tests.deploy import chart
from tests.deploy.chart import CASES, CHART, NEWEST, OLDEST, helm, needs_helm, render
from tests.deploy.kubernetes_schemas import problems

pytestmark = needs_helm


@pytest.mark.parametrize("case", CASES)
def test_helm_finds_nothing_to_complain_about(case: str) -> None:
    told = helm("lint", "--strict", str(CHART), "-f", str(CHART / "ci" / case),
                "--kube-version", OLDEST)  # fmt: skip
    assert "1 chart(s) linted, 0 chart(s) failed" in told


@pytest.mark.parametrize("version", [OLDEST, NEWEST])
@pytest.mark.parametrize("case", CASES)
def test_each_object_is_valid_in_each_kubernetes(case: str, version: str) -> None:
    objects = render(case, version=version)
    wrong = {
        f"{each['kind']} {each['metadata']['name']}": found
        for each in objects
        if (found := problems(each, version))
    }
    assert not wrong
    assert len(objects) > 30


@pytest.mark.parametrize(
    ("kind", "path", "value"),
    [
        ("Deployment", ("spec", "template", "spec", "containers", 0, "readynessProbe"), {}),
        ("Deployment", ("spec", "template", "spec", "enableServiceLinks"), "no"),
        ("Service", ("spec", "publishNotReadyAddress"), True),
        ("HorizontalPodAutoscaler", ("spec", "minReplicas"), "three"),
        ("NetworkPolicy", ("spec", "policyType"), []),
        ("Certificate", ("spec", "privateKey", "rotationpolicy"), "Always"),
        ("Certificate", ("spec", "usages", 0), "server"),
        ("ServiceMonitor", ("spec", "endpoints", 0, "intervall"), "30s"),
        ("PrometheusRule", ("spec", "groups", 0, "rules", 0, "expression"), "1"),
        ("GRPCRoute", ("spec", "rules", 0, "backendRefs", 0, "port"), "50051"),
        ("BackendTLSPolicy", ("spec", "validation", "hostnames"), []),
    ],
)
@pytest.mark.parametrize("version", [OLDEST, NEWEST])
def test_the_check_refuses_what_is_wrong(
    kind: str, path: tuple[str | int, ...], value: Any, version: str
) -> None:
    """Control: a check that passes everything would prove nothing."""
    thing: Any = copy.deepcopy(chart.of_kind(render("everything-values.yaml"), kind)[-1])
    place = thing
    for step in path[:-1]:
        place = place[step]
    place[path[-1]] = value
    assert problems(thing, version)


@pytest.mark.parametrize("case", CASES)
def test_rendering_twice_is_the_same(case: str) -> None:
    assert chart.template(case) == chart.template(case)


@pytest.mark.parametrize("case", CASES)
def test_names_are_unique_and_in_the_namespace(case: str) -> None:
    objects = render(case)
    names = [(each["apiVersion"], each["kind"], each["metadata"]["name"]) for each in objects]
    assert len(names) == len(set(names))
    assert {each["metadata"]["namespace"] for each in objects} == {"prod"}
    assert max(len(name) for *_, name in names) <= 63


def test_long_names_still_fit() -> None:
    name = "r" * 53
    objects = helm("template", name, str(CHART), "-n", "n" * 63, "--kube-version", OLDEST,
                   "-f", str(CHART / "ci" / "everything-values.yaml"))  # fmt: skip
    names = [line.split()[1] for line in objects.splitlines() if line.startswith("  name: ")]
    assert len(names) > 30
    assert max(map(len, names)) <= 63


def test_an_older_kubernetes_is_refused() -> None:
    with pytest.raises(chart.Refused, match=r"requires kubeVersion: >=1\.30"):
        render("minimal-values.yaml", version="1.29.9")


def test_labels_that_everybody_gets_never_replace_ours() -> None:
    sets = 'commonLabels={"app.kubernetes.io/component": "x", "team": "files"}'
    for each in render("minimal-values.yaml", sets):
        labels = each["metadata"]["labels"]
        assert labels["team"] == "files"
        assert labels["app.kubernetes.io/component"] != "x"
