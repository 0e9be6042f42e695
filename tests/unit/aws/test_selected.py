"""How AWS is chosen: by variables, by `backend.toml`, and what is refused."""

from __future__ import annotations

from pathlib import Path

import pytest

from services.aws.selected import aws_place
from services.cli.init import render_toml
from services.config import load_settings
from services.model.errors import WorkspaceError
from services.model.selection import backend_selection
from services.settings import Settings

GOOD = {
    "records": "dynamodb", "objects": "s3", "aws_region": "eu-central-1",
    "aws_dynamodb_table": "items", "aws_s3_bucket": "documents",
}  # fmt: skip


@pytest.fixture(autouse=True)
def _no_variables(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("REGION", "DEFAULT_REGION", "PROFILE", "DYNAMODB_TABLE", "S3_BUCKET"):
        monkeypatch.delenv(f"AWS_{name}", raising=False)


def selected(tmp_path: Path, **more: str) -> Settings:
    file = tmp_path / "backend.toml"
    file.write_text(render_toml(backend_selection(provider="aws", region="eu-west-1")))
    return load_settings(data_dir=tmp_path, backend_file=file, **more)


def test_the_selection_of_init_selects_aws(tmp_path: Path) -> None:
    settings = selected(tmp_path)
    assert (settings.records, settings.objects, settings.provider) == ("dynamodb", "s3", "aws")
    assert settings.aws_region == "eu-west-1"
    assert settings.aws_dynamodb_table == "workspace-management-dev"
    assert settings.aws_s3_bucket == "workspace-management-dev-documents"


def test_what_is_set_wins_over_the_selection(tmp_path: Path) -> None:
    settings = selected(tmp_path, aws_region="us-east-2", objects="filesystem")
    assert (settings.aws_region, settings.objects) == ("us-east-2", "filesystem")


def test_the_variables_of_the_aws_tools_fill_what_is_silent(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in (("PROFILE", "work"), ("REGION", "us-west-2"), ("S3_BUCKET", "other")):
        monkeypatch.setenv(f"AWS_{name}", value)
    settings = selected(tmp_path)
    assert (settings.aws_profile, settings.aws_region) == ("work", "eu-west-1")
    assert settings.aws_s3_bucket == "workspace-management-dev-documents"
    assert load_settings(data_dir=tmp_path).aws_profile == ""  # a local workspace: not asked


@pytest.mark.parametrize("field", ["aws_region", "aws_dynamodb_table", "aws_s3_bucket"])
@pytest.mark.parametrize("value", ["", "Über uns"])
def test_a_missing_or_wrong_name_is_named_with_its_remedy(
    tmp_path: Path, field: str, value: str
) -> None:
    with pytest.raises(WorkspaceError) as caught:
        load_settings(data_dir=tmp_path, **{**GOOD, field: value})
    assert caught.value.metadata["field"] == f"WM_{field.upper()}"
    assert caught.value.message.count("must be" if value else "wm init --provider aws") == 1


@pytest.mark.parametrize(
    "url", ["s3.example.com", "ftp://s3.example.com", "https://u:p@h", "https://h/path", "https://h?x"]
)
def test_an_endpoint_is_a_plain_url(tmp_path: Path, url: str) -> None:
    with pytest.raises(WorkspaceError) as caught:
        load_settings(data_dir=tmp_path, **GOOD, aws_s3_endpoint=url)
    assert caught.value.metadata["field"] == "WM_AWS_S3_ENDPOINT"


@pytest.mark.parametrize(
    "url",
    [
        "files.example.com", "http://files.example.com", "http://10.0.0.1:9000", "https://u:p@h",
        "https://h/path", "https://h?x", "https://h#x", "ftp://127.0.0.1", "https://h:port",
        "https://h:70000", "http://127.0.0.1.example.com",
    ],
)  # fmt: skip
def test_the_endpoint_of_clients_is_a_plain_url_and_tls_beyond_this_machine(
    tmp_path: Path, url: str
) -> None:
    with pytest.raises(WorkspaceError) as caught:
        load_settings(data_dir=tmp_path, **GOOD, aws_s3_public_endpoint=url)
    assert caught.value.metadata["field"] == "WM_AWS_S3_PUBLIC_ENDPOINT"


@pytest.mark.parametrize(
    "url", ["https://files.example.com", "http://127.0.0.1:8080", "http://localhost", "http://[::1]:1"]
)
def test_clients_may_reach_the_store_elsewhere(tmp_path: Path, url: str) -> None:
    given = {"aws_s3_endpoint": "http://127.0.0.1:1", "aws_s3_public_endpoint": url}
    place = aws_place(load_settings(data_dir=tmp_path, **GOOD, **given))
    assert place.endpoint_of("s3") == "http://127.0.0.1:1"
    assert place.public_endpoint_of("s3") == url
    place = aws_place(load_settings(data_dir=tmp_path, **GOOD, aws_s3_endpoint="http://127.0.0.1:1"))
    assert place.public_endpoint_of("s3") == "http://127.0.0.1:1"
    assert aws_place(load_settings(data_dir=tmp_path, **GOOD)).public_endpoint_of("s3") is None


def test_the_place_has_the_endpoints(tmp_path: Path) -> None:
    settings = load_settings(data_dir=tmp_path, **GOOD, aws_s3_endpoint="http://127.0.0.1:1")
    place = aws_place(settings)
    assert place.endpoint_of("s3") == "http://127.0.0.1:1"
    assert place.endpoint_of("dynamodb") is None
    assert place.region == "eu-central-1"


def test_postgresql_with_an_s3_compatible_store_is_hosted_by_its_users(tmp_path: Path) -> None:
    given = {**GOOD, "records": "postgresql", "records_dsn": "host=/run", "aws_dynamodb_table": ""}
    assert load_settings(data_dir=tmp_path, **given).provider == "local"
