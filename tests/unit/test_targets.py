"""What a process serves, whom it calls, and settings that do not fit together."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from services.config import load_settings
from services.model.errors import Reason, WorkspaceError
from services.processes.target_settings import check_listeners
from services.processes.targets import CALLS, SERVICES, Target, Targets, target_of
from services.settings import Settings

ROOT = Path(__file__).parents[2]
SPLIT = {
    "records": "postgresql",
    "records_dsn": "postgresql://nobody@127.0.0.1/none",
    "objects": "s3",
    "aws_region": "eu-central-1",
    "aws_s3_bucket": "files",
    "public_url": "https://workspace.example.org",
    "peer_identity": "dns:///identity:50051",
    "peer_project": "dns:///project:50051",
    "peer_storage": "dns:///storage:50051",
    "peer_sync": "dns:///sync:50051",
    "peer_ca": Path("ca.crt"),
    "tls_certificate": Path("tls.crt"),
    "tls_key": Path("tls.key"),
    "tls_client_ca": Path("ca.crt"),
    "grpc_host": "0.0.0.0",
}

LOCAL_PEERS = {f"peer_{name}": "127.0.0.1:1" for name in SERVICES}


@pytest.fixture(autouse=True)
def clean_surroundings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def loaded(targets: str, **changes: Any) -> Settings:
    given = {**SPLIT, "targets": targets, **changes}
    return load_settings(**{name: value for name, value in given.items() if value is not None})


def refused(targets: str, **changes: Any) -> str:
    with pytest.raises(WorkspaceError) as caught:
        loaded(targets, **changes)
    assert caught.value.reason == Reason.ERROR_REASON_INVALID_FIELD
    return caught.value.message


def test_nothing_chosen_is_everything() -> None:
    targets = Targets.parse("")
    assert targets.everything
    assert targets.served == targets.inside == SERVICES
    assert targets.publishes
    assert targets.relays
    assert targets.peers == frozenset()


def test_all_names_are_everything() -> None:
    assert Targets.parse(" , ".join(Target)).everything


def test_a_service_alone_calls_the_others() -> None:
    targets = Targets.parse("project")
    assert targets.served == targets.inside == {Target.PROJECT}
    assert not targets.publishes
    assert not targets.relays
    assert targets.peers == {Target.IDENTITY, Target.STORAGE}


def test_two_services_in_one_process_call_each_other_inside() -> None:
    assert Targets.parse("project,identity").peers == {Target.STORAGE}


def test_a_relay_has_its_services_for_itself() -> None:
    targets = Targets.parse("relay")
    assert targets.served == frozenset()
    assert targets.inside == SERVICES - {Target.SYNC}
    assert targets.peers == frozenset()


def test_a_gateway_alone_has_no_stores() -> None:
    assert not Targets.parse("gateway").has_stores
    assert Targets.parse("gateway").peers == SERVICES
    assert Targets.parse("gateway,relay").has_stores


def test_certificates_prove_every_target() -> None:
    names = Targets.parse("sync,relay").identities("example.org")
    assert names == {"spiffe://example.org/sync", "spiffe://example.org/relay"}


@pytest.mark.parametrize(
    ("name", "target"),
    [
        ("workspace.project.v1.GrantService", Target.PROJECT),
        ("sync_svc", Target.SYNC),
        ("storage", Target.STORAGE),
        ("grpc.health.v1.Health", None),
        ("workspace.common.v1.Nothing", None),
        ("gateway", None),
    ],
)
def test_target_of_names(name: str, target: Target | None) -> None:
    assert target_of(name) == target


@pytest.mark.parametrize("target", sorted(SERVICES))
def test_the_table_of_calls_is_what_the_code_asks_for(target: Target) -> None:
    asked: set[str] = set()
    for file in (ROOT / f"{target}_svc").rglob("*.py"):
        asked |= set(re.findall(r"peers\(\s*\"(\w+)\"", file.read_text()))
    assert asked == set(CALLS[target])


def test_an_unknown_target_is_named() -> None:
    message = refused("project,gatway")
    assert "WM_TARGETS" in message
    assert "'gatway'" in message
    assert "gateway" in message


def test_good_settings_are_taken() -> None:
    for target in Target:
        assert loaded(target).targets == target


def test_one_process_needs_none_of_it() -> None:
    assert load_settings(targets="").targets == ""


@pytest.mark.parametrize(
    ("changes", "field", "remedy"),
    [
        ({"records": "sqlite"}, "WM_RECORDS", "postgresql"),
        ({"objects": "filesystem"}, "WM_OBJECTS", "s3 or azure_blob"),
        ({"public_url": None}, "WM_PUBLIC_URL", "where people come"),
        ({"peer_storage": None}, "WM_PEER_STORAGE", "dns:///storage:50051"),
        ({"peer_ca": None}, "WM_PEER_CA", "wm certs"),
        ({"tls_client_ca": None}, "WM_TLS_CLIENT_CA", "certificates"),
        ({"object_proxy": "http://objects:9000"}, "WM_OBJECT_PROXY", "gateway"),
        ({"peer_certificate": Path("a")}, "WM_PEER_KEY", "WM_PEER_CERTIFICATE"),
        ({"peer_key": Path("a")}, "WM_PEER_CERTIFICATE", "WM_PEER_KEY"),
    ],
)
def test_what_several_processes_need(changes: dict[str, Any], field: str, remedy: str) -> None:
    message = refused("project", **changes)
    assert message.startswith(field)
    assert remedy in message


def test_people_and_services_do_not_come_to_one_port() -> None:
    assert "the gateway alone" in refused("gateway,identity")
    assert loaded("gateway,relay").targets == "gateway,relay"
    assert loaded("identity,project,storage,sync,gateway").targets


@pytest.mark.parametrize("url", ["ftp://x", "http://", "http://objects/path", "objects:9000"])
def test_an_object_proxy_is_an_origin(url: str) -> None:
    assert refused("gateway", object_proxy=url).startswith("WM_OBJECT_PROXY")


def test_a_gateway_needs_no_stores_and_no_client_certificates() -> None:
    settings = loaded(
        "gateway", records="sqlite", objects="filesystem", public_url=None, tls_client_ca=None
    )
    assert settings.records_dsn is not None  # what is set is not looked at


def test_peers_of_a_gateway_on_this_machine_may_be_without_tls() -> None:
    assert loaded("gateway", **LOCAL_PEERS, peer_ca=None).peer_ca is None


@pytest.mark.parametrize("target", sorted(SERVICES))
def test_a_service_shows_who_it_is_on_this_machine_too(target: Target) -> None:
    """Without a certificate its calls are nobody's, and refused one by one."""
    near = {**LOCAL_PEERS, "grpc_host": "127.0.0.1"}
    assert refused(target, **near, peer_ca=None).startswith("WM_PEER_CA")
    bare = {**near, "tls_certificate": None, "tls_key": None, "tls_client_ca": None}
    assert refused(target, **bare).startswith("WM_PEER_CERTIFICATE")


@pytest.mark.parametrize("target", ["identity", "project", "storage"])
def test_a_service_that_others_call_asks_who_they_are_on_this_machine_too(target: str) -> None:
    assert refused(target, grpc_host="127.0.0.1", tls_client_ca=None).startswith(
        "WM_TLS_CLIENT_CA"
    )


def test_services_that_nobody_else_calls_let_people_in() -> None:
    """All but the relay in one process: people have no certificates."""
    everything = ",".join([*SERVICES, Target.GATEWAY])
    assert loaded(everything, tls_client_ca=None).tls_client_ca is None


def test_client_certificates_need_tls() -> None:
    bare = {"tls_certificate": None, "tls_key": None, "grpc_host": "127.0.0.1"}
    assert refused("relay", **bare).startswith("WM_TLS_CERTIFICATE")


@pytest.mark.parametrize("targets", ["", "gateway,relay", "gateway,identity"])
def test_an_object_proxy_that_nothing_would_serve_is_refused(targets: str) -> None:
    assert refused(targets, object_proxy="http://objects:9000").startswith("WM_OBJECT_PROXY")


@pytest.mark.parametrize("targets", ["", "project", "gateway"])
def test_who_listens_beyond_this_machine_needs_tls(targets: str) -> None:
    settings = Settings(targets=targets, grpc_host="0.0.0.0", http_host="0.0.0.0")
    with pytest.raises(WorkspaceError, match="needs TLS"):
        check_listeners(settings)
    check_listeners(settings.model_copy(update={"tls_certificate": Path("tls.crt")}))


def test_a_relay_and_tools_listen_nowhere() -> None:
    check_listeners(Settings(targets="relay", grpc_host="0.0.0.0", http_host="0.0.0.0"))
    assert load_settings(grpc_host="0.0.0.0").grpc_host == "0.0.0.0"  # as for `wm migrate`


def test_a_service_has_no_http_port() -> None:
    check_listeners(Settings(targets="project", http_host="0.0.0.0"))
