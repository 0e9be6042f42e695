"""Where `wm setup aws` goes, and the tags it gives."""

from __future__ import annotations

import ssl
from datetime import UTC, datetime
from pathlib import Path

import pytest

from services.aws.setup.certificate import write_certificate
from services.aws.setup.desired import STAGED_PREFIX, tls_only
from services.aws.setup.names import Asked, find_target
from services.aws.setup.policy import is_public, refuses_plain, with_statement
from services.aws.setup.tags import TAGS
from services.cli.init import render_toml
from services.model.errors import WorkspaceError
from services.model.selection import backend_selection
from services.objects.s3.staging import STAGED


@pytest.fixture(autouse=True)
def _bare(monkeypatch: pytest.MonkeyPatch) -> None:
    import os

    for name in [name for name in os.environ if name.startswith(("AWS_", "WM_"))]:
        monkeypatch.delenv(name)


def target(folder: Path, asked: Asked | None = None, **environment: str) -> tuple[str, str, str]:
    found = find_target(
        asked or Asked(), backend_file=folder / "backend.toml", environment=environment
    ).baseline
    return found.region, found.bucket, found.table


def write(folder: Path) -> None:
    selection = backend_selection(
        provider="aws", environment="prod", prefix="plan", region="eu-west-1"
    )
    (folder / "backend.toml").write_text(render_toml(selection))


def test_without_anything_it_is_what_init_would_write(tmp_path: Path) -> None:
    assert target(tmp_path) == (
        "us-east-1", "workspace-management-dev-documents", "workspace-management-dev",
    )  # fmt: skip


def test_variables_of_the_aws_tools_count_where_the_file_is_silent(tmp_path: Path) -> None:
    variables = {
        "AWS_REGION": "eu-central-1", "AWS_S3_BUCKET": "ours", "AWS_DYNAMODB_TABLE": "rows",
    }  # fmt: skip
    assert target(tmp_path, **variables) == ("eu-central-1", "ours", "rows")
    write(tmp_path)
    assert target(tmp_path, **variables) == ("eu-west-1", "plan-prod-documents", "plan-prod")


def test_settings_come_before_the_file_and_flags_before_all(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(tmp_path)
    monkeypatch.setenv("WM_AWS_S3_BUCKET", "other")
    assert target(tmp_path) == ("eu-west-1", "other", "plan-prod")
    asked = Asked(prefix="new", environment="test", region="eu-north-1")
    assert target(tmp_path, asked) == ("eu-north-1", "new-test-documents", "new-test")


def test_the_selection_names_what_was_made(tmp_path: Path) -> None:
    found = find_target(
        Asked(), backend_file=tmp_path / "backend.toml", environment={"AWS_S3_BUCKET": "ours"}
    )
    assert found.selection["storage"]["bucket"] == "ours"
    assert found.selection["provider"] == "aws"


BAD = [
    (Asked(region="nowhere"), "REGION"),
    (Asked(prefix="UPPER"), "prefix"),
    (Asked(tags=("novalue",)), "--tag"),
    (Asked(tags=("aws:x=1",)), "reserved"),
    (Asked(kms_key="alias/mine"), "--kms-key"),
    (Asked(allow_origins=("*",)), "--allow-origin"),
    (Asked(allow_origins=("http://app.example.com",)), "--allow-origin"),
    (Asked(allow_origins=("https://app.example.com/path",)), "--allow-origin"),
]


@pytest.mark.parametrize(("asked", "said"), BAD, ids=range(len(BAD)))
def test_bad_flags_are_refused_by_name(tmp_path: Path, asked: Asked, said: str) -> None:
    with pytest.raises(WorkspaceError, match=said):
        target(tmp_path, asked)


def test_a_selection_of_another_provider_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "backend.toml").write_text(render_toml(backend_selection(provider="local")))
    with pytest.raises(WorkspaceError, match="wm init --provider aws"):
        target(tmp_path)


def test_a_bad_setting_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WM_GRPC_PORT", "many")
    with pytest.raises(WorkspaceError, match="WM_GRPC_PORT"):
        target(tmp_path)


def test_tags_are_read_and_a_secret_is_refused() -> None:
    assert TAGS.parse(["Team=Docs, CostCenter=4 2", "a=b=c"]) == {
        "Team": "Docs", "CostCenter": "4 2", "a": "b=c",
    }  # fmt: skip
    with pytest.raises(WorkspaceError, match="secret") as refused:
        TAGS.parse(["password=hunter2hunter2"])
    assert "hunter2" not in str(refused.value)


def test_a_statement_under_another_name_is_ours_and_another_version_is_replaced() -> None:
    ours = tls_only("b")
    renamed = {**ours, "Sid": "x", "Principal": {"AWS": "*"}, "Action": ["s3:*"],
               "Condition": {"Bool": {"aws:SecureTransport": False}}}  # fmt: skip
    assert refuses_plain({"Statement": renamed}, ours)
    narrower = {**ours, "Resource": ours["Resource"][:1]}
    assert not refuses_plain({"Statement": [narrower]}, ours)
    assert with_statement({"Statement": [narrower]}, ours).count("WorkspaceTlsOnly") == 1


def test_a_policy_for_everybody_is_public_unless_it_has_a_condition() -> None:
    allow = {"Effect": "Allow", "Action": "s3:GetObject", "Resource": "*"}
    assert is_public({"Statement": {**allow, "Principal": "*"}})
    assert is_public({"Statement": [{**allow, "Principal": {"AWS": ["*"]}}]})
    condition = {"StringEquals": {"aws:SourceVpc": "vpc-1"}}
    assert not is_public({"Statement": [{**allow, "Principal": "*", "Condition": condition}]})
    assert not is_public({"Statement": [{**allow, "Principal": {"AWS": "arn:aws:iam::1:root"}}]})


def test_the_certificate_of_a_container_is_one_that_tls_takes(tmp_path: Path) -> None:
    certificate, key = write_certificate(tmp_path / "tls", now=datetime.now(UTC))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    assert key.stat().st_mode & 0o077 == 0


def test_what_is_staged_is_what_goes() -> None:
    assert f"{STAGED}/" == STAGED_PREFIX
