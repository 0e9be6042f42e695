"""Who reaches whom: exactly the calls of the code, and only the gateway from outside."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from services.processes.targets import CALLS, SERVICES, Target
from tests.deploy.chart import (
    CASES,
    TARGETS,
    components,
    environment,
    named,
    needs_helm,
    of_kind,
    render,
    selected,
)

pytestmark = needs_helm
_ROOT = Path(__file__).parents[2]
_PEER = re.compile(r'peers\(\s*"(\w+)"')
_WANTED = {str(caller): {str(each) for each in called} for caller, called in CALLS.items()}


def _policies(objects: Any, target: str) -> list[Any]:
    labels = components(objects)[target]
    return [each["spec"] for each in of_kind(objects, "NetworkPolicy")
            if selected(labels, each["spec"]["podSelector"])]  # fmt: skip


def _ours(objects: Any, peers: list[Any]) -> set[str]:
    """The components that peers of a rule select, in this namespace."""
    return {
        name
        for peer in peers
        if "podSelector" in peer and "namespaceSelector" not in peer
        for name, labels in components(objects).items()
        if selected(labels, peer["podSelector"])
    }


def _rules(objects: Any, target: str, way: str) -> Iterator[tuple[set[Any], list[Any]]]:
    """Ports and peers of each rule that counts for a target."""
    for policy in _policies(objects, target):
        for rule in policy.get(way, ()):
            ports = {each["port"] for each in rule["ports"]}
            yield ports, rule.get("from" if way == "ingress" else "to", [])


@pytest.mark.parametrize("case", CASES)
def test_all_that_runs_is_closed_in_both_directions(case: str) -> None:
    objects = render(case)
    everything = set(components(objects))
    assert {*TARGETS, "test"} <= everything
    for component in everything:
        policies = _policies(objects, component)
        assert any(
            policy["policyTypes"] == ["Ingress", "Egress"] and not policy.get("ingress")
            for policy in policies
        ), component
        assert all(policy["policyTypes"] == ["Ingress", "Egress"] for policy in policies)


@pytest.mark.parametrize("case", CASES)
def test_calls_are_let_through_as_the_code_makes_them(case: str) -> None:
    objects = render(case)
    out = {
        target: {
            peer
            for ports, to in _rules(objects, target, "egress")
            if ports == {int(environment(objects, "gateway")["WM_GRPC_PORT"])}
            for peer in _ours(objects, to)
        }
        for target in TARGETS
    }
    into = {
        (caller, target)
        for target in TARGETS
        for ports, peers in _rules(objects, target, "ingress")
        if ports == {"grpc"}
        for caller in _ours(objects, peers)
    }
    assert out == _WANTED
    assert into == {(caller, each) for caller, called in _WANTED.items() for each in called}


def test_the_table_of_calls_has_all_that_the_services_ask_for() -> None:
    for service in sorted(SERVICES):
        sources = (_ROOT / f"{service}_svc").rglob("*.py")
        asked = {Target(name) for path in sources for name in _PEER.findall(path.read_text())}
        assert asked == CALLS[service], service


@pytest.mark.parametrize("case", CASES)
def test_peers_that_a_process_is_told_are_those_that_it_calls(case: str) -> None:
    objects = render(case)
    for target in TARGETS:
        given = environment(objects, target)
        told = {n.removeprefix("WM_PEER_").lower(): v for n, v in given.items()
                if v.startswith("dns:///")}  # fmt: skip
        assert set(told) == _WANTED[target]
        for peer, address in told.items():
            host, _, port = address.removeprefix("dns:///").rpartition(":")
            assert host == f"wm-workspace-{peer}.prod.svc.cluster.local"
            service = named(objects, "Service", peer)["spec"]
            assert {each["name"]: each["port"] for each in service["ports"]}["grpc"] == int(port)


@pytest.mark.parametrize("case", CASES)
def test_only_the_gateway_is_open(case: str) -> None:
    """A rule without `from`, with addresses or other namespaces is a way from outside."""
    objects = render(case)
    for target in components(objects):
        for ports, peers in _rules(objects, target, "ingress"):
            outside = not peers or any(set(peer) != {"podSelector"} for peer in peers)
            if outside:
                allowed = {"https", "grpc"} if target == "gateway" else set()
                assert ports <= allowed | {"metrics"} or ports == {"probe"}, target
            if not peers:
                assert target == "gateway"
                assert ports == {"https", "grpc"}


@pytest.mark.parametrize("case", CASES)
def test_only_the_gateway_is_published(case: str) -> None:
    objects = render(case)
    headless = [each["spec"] for each in of_kind(objects, "Service")
                if each["spec"].get("clusterIP") == "None"]  # fmt: skip
    rest = [each for each in of_kind(objects, "Service")
            if each["spec"].get("clusterIP") != "None"]  # fmt: skip
    assert len(headless) == len(TARGETS)
    assert [each["metadata"]["name"] for each in rest] == ["wm-workspace"]
    assert selected(components(objects)["gateway"], {"matchLabels": rest[0]["spec"]["selector"]})
    assert {each["targetPort"] for each in rest[0]["spec"]["ports"]} == {"https", "grpc"}
    for kind in ("Ingress", "HTTPRoute", "GRPCRoute"):
        for each in of_kind(objects, kind):
            backends = re.findall(r"'name': '([a-z-]+)'", str(each["spec"]["rules"]))
            assert set(backends) <= {"wm-workspace", "https", "grpc"}


@pytest.mark.parametrize("case", CASES)
def test_services_find_pods_and_their_ports(case: str) -> None:
    objects = render(case)
    for service in of_kind(objects, "Service"):
        selector = {"matchLabels": service["spec"]["selector"]}
        found = [name for name, labels in components(objects).items() if selected(labels, selector)]
        assert len(found) == 1, service["metadata"]["name"]
        spec = named(objects, "Deployment", found[0])["spec"]["template"]["spec"]
        ports = {each["name"] for each in spec["containers"][0]["ports"]}
        assert {each["targetPort"] for each in service["spec"]["ports"]} <= ports


@pytest.mark.parametrize("case", CASES)
def test_processes_that_wait_for_each_other_find_each_other(case: str) -> None:
    """Readiness waits for peers to be reached once; with addresses of ready pods alone,
    identity would wait for project and project for identity."""
    assert CALLS[Target.IDENTITY] & {Target.PROJECT}
    assert CALLS[Target.PROJECT] & {Target.IDENTITY}
    for target in TARGETS:
        assert named(render(case), "Service", target)["spec"]["publishNotReadyAddresses"] is True
    assert "publishNotReadyAddresses" not in named(render(case), "Service", "")["spec"]


def test_what_is_reached_outside_is_what_a_target_needs() -> None:
    """Each rule is given a port of its own, to be told apart."""
    kinds = [
        "records",
        "objects",
        "cloud",
        "signIn",
        "connections",
        "mail",
        "webhooks",
        "telemetry",
    ]
    sets = [f'networkPolicy.egress.{kind}=[{{"ports": [{{"port": {7000 + at}}}]}}]'
            for at, kind in enumerate(kinds)]  # fmt: skip
    objects = render("minimal-values.yaml", *sets)
    found = {
        target: {
            kinds[port - 7000]
            for ports, _ in _rules(objects, target, "egress")
            for port in ports
            if 7000 <= port < 7000 + len(kinds)
        }
        for target in (*TARGETS, "migration", "test")
    }
    every = {"records", "objects", "cloud", "telemetry"}
    service = every | {"signIn"}
    assert found == {
        "identity": service, "project": service, "storage": service,
        "sync": service | {"connections"}, "relay": every | {"mail", "webhooks"},
        "gateway": {"telemetry"}, "migration": {"records", "cloud"}, "test": set(),
    }  # fmt: skip


def test_a_gateway_that_passes_files_on_reaches_their_store() -> None:
    ports = {
        p for ports, _ in _rules(render("secrets-values.yaml"), "gateway", "egress") for p in ports
    }
    assert 7070 in ports
    plain = {
        p for ports, _ in _rules(render("minimal-values.yaml"), "gateway", "egress") for p in ports
    }
    assert plain == {53, 50051}


def test_webhooks_and_connections_reach_no_private_networks() -> None:
    objects = render("minimal-values.yaml")
    for target in ("relay", "sync"):
        blocks = [peer["ipBlock"] for _, peers in _rules(objects, target, "egress")
                  for peer in peers if "ipBlock" in peer]  # fmt: skip
        assert blocks
        assert all({"10.0.0.0/8", "169.254.0.0/16"} <= set(block["except"]) for block in blocks)
