"""The chart of deploy/kubernetes, rendered by Helm, as Python objects."""

from __future__ import annotations

import os
import subprocess
import tempfile
from collections.abc import Iterator, Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any, Final

import pytest
import yaml

from tests.servers import tools

__all__ = [
    "CASES", "CHART", "NEWEST", "OLDEST", "RELEASE", "TARGETS", "Refused", "components",
    "containers", "environment", "helm", "named", "needs_helm", "of_kind", "pods", "render",
    "selected",
]  # fmt: skip

CHART: Final = Path(__file__).parents[2] / "deploy" / "kubernetes" / "workspace"
CASES: Final = sorted(path.name for path in (CHART / "ci").glob("*-values.yaml"))
TARGETS: Final = ("identity", "project", "storage", "sync", "gateway", "relay")
RELEASE: Final = ("wm", "prod")
"""Name and namespace of what is rendered."""
OLDEST, NEWEST = "1.30.0", "1.37.0"
"""Kubernetes: the oldest that the chart takes, and the newest whose schemas there are."""

needs_helm = pytest.mark.skipif(not tools.HAS_GO, reason="capability: Helm (needs Go)")

Object = Mapping[str, Any]


class Refused(Exception):
    """What Helm said."""


class _Strict(yaml.SafeLoader):
    """Refuses a key that is there twice, as the API server does."""

    def construct_mapping(self, node: Any, deep: bool = False) -> dict[Any, Any]:
        keys = [self.construct_object(key, deep=deep) for key, _ in node.value]
        twice = {str(key) for key in keys if keys.count(key) > 1}
        if twice:
            raise yaml.YAMLError(f"keys that are there twice: {sorted(twice)}")
        return super().construct_mapping(node, deep)


def helm(*arguments: str) -> str:
    """Run Helm away from the configuration of this machine. Raises Refused."""
    with tempfile.TemporaryDirectory(prefix="workspace-helm-") as home:
        places = {f"HELM_{name}_HOME": home for name in ("CACHE", "CONFIG", "DATA")}
        done = subprocess.run(
            [str(tools.helm()), *arguments], env={**os.environ, **places},
            capture_output=True, text=True, check=False, timeout=60,
        )  # fmt: skip
    if done.returncode:
        raise Refused(done.stderr + done.stdout)
    return done.stdout


def template(case: str, *sets: str, version: str = OLDEST) -> str:
    """What Helm renders with a file of ci/ and more values, as `a.b=c` or JSON."""
    values = ["-f", str(CHART / "ci" / case)] + [
        part for each in sets for part in ("--set-json", each)
    ]
    name, namespace = RELEASE
    return helm("template", name, str(CHART), "-n", namespace, "--kube-version", version, *values)


@lru_cache(maxsize=64)
def render(case: str, *sets: str, version: str = OLDEST) -> tuple[Object, ...]:
    """The objects. Raises Refused when the values are wrong."""
    loaded = yaml.load_all(template(case, *sets, version=version), Loader=_Strict)
    return tuple(each for each in loaded if each)


def of_kind(objects: tuple[Object, ...], kind: str) -> list[Object]:
    return [each for each in objects if each["kind"] == kind]


def named(objects: tuple[Object, ...], kind: str, name: str) -> Object:
    """`name` without the name of the release: `identity`, or '' for what has it alone."""
    full = f"wm-workspace-{name}" if name else "wm-workspace"
    found = [each for each in of_kind(objects, kind) if each["metadata"]["name"] == full]
    assert len(found) == 1, f"{len(found)} of {kind} {full}"
    return found[0]


def pods(objects: tuple[Object, ...]) -> Iterator[tuple[str, Object]]:
    """Name and spec of all that runs, hooks and tests too."""
    for each in objects:
        if each["kind"] == "Pod":
            yield each["metadata"]["name"], each["spec"]
        elif each["kind"] in ("Deployment", "Job"):
            yield each["metadata"]["name"], each["spec"]["template"]["spec"]


def containers(objects: tuple[Object, ...]) -> Iterator[tuple[str, Object]]:
    """Name and spec of each container."""
    for name, spec in pods(objects):
        for container in (*spec.get("initContainers", ()), *spec["containers"]):
            yield f"{name}/{container['name']}", container


def environment(objects: tuple[Object, ...], target: str) -> dict[str, str]:
    """The variables of a target that are no secrets, and whose Secrets are `<name/key>`."""
    spec = named(objects, "Deployment", target)["spec"]["template"]["spec"]
    container = spec["containers"][0]
    assert container["envFrom"] == [{"configMapRef": {"name": f"wm-workspace-{target}"}}]
    found = dict(named(objects, "ConfigMap", target)["data"])
    for each in container.get("env", ()):
        secret = each.get("valueFrom", {}).get("secretKeyRef")
        found[each["name"]] = f"<{secret['name']}/{secret['key']}>" if secret else each["value"]
    return found


def selected(labels: Mapping[str, str], selector: Mapping[str, Any]) -> bool:
    """Whether a label selector takes these labels."""
    assert set(selector) <= {"matchLabels"}, "only matchLabels are worked out here"
    return all(labels.get(key) == value for key, value in selector.get("matchLabels", {}).items())


def components(objects: tuple[Object, ...]) -> dict[str, Mapping[str, str]]:
    """The labels of the pods of each component."""
    found: dict[str, Mapping[str, str]] = {}
    for each in objects:
        if each["kind"] in ("Deployment", "Job"):
            labels = each["spec"]["template"]["metadata"]["labels"]
        elif each["kind"] == "Pod":
            labels = each["metadata"]["labels"]
        else:
            continue
        found[labels["app.kubernetes.io/component"]] = labels
    return found
