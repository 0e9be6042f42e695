"""Tables and buckets in manifests: their settings, their names, and who may name them."""

from __future__ import annotations

from pathlib import Path

import pytest
from workspace.sync.v1.connection_pb2 import Connection

from services.model.errors import Reason, WorkspaceError
from services.settings import Settings
from sync_svc.connections.providers import PROVIDERS, place_of, places_of
from sync_svc.connections.reach import Reach
from sync_svc.connections.stores import own_stores, store_name, stores_of
from sync_svc.connections.stores_aws import endpoint, is_aws
from sync_svc.surfaces.aws import keys_of, variable_of
from sync_svc.surfaces.openers import OPENERS
from tests.unit.sync_svc.connections.judging import check, refused

AWS = {"region": "eu-central-1", "table": "prod", "bucket": "prod-docs"}
DATABASE = {"host": "db.example.org", "database": "w", "user": "u"}
S3 = {"region": "eu-central-1", "bucket": "prod-docs"}
MINIO = "https://minio.example.org:9000"


def aws(connection_id: str = "cloud", **settings: str) -> Connection:
    return Connection(
        connection_id=connection_id, provider="aws", settings={**AWS, **settings}
    )


def postgres(**settings: str) -> Connection:
    return Connection(
        connection_id="db", provider="postgres", settings={**DATABASE, **settings}
    )


def test_every_provider_has_what_opens_it() -> None:
    assert PROVIDERS.keys() == OPENERS.keys()


@pytest.mark.parametrize(
    "settings",
    [
        {}, {"profile": "AdministratorAccess-123456789012"}, {"profile": "team/ops @ home"},
        {"s3_endpoint": MINIO, "path_style": "true"}, {"path_style": "false"},
        {"s3_endpoint": "http://127.0.0.1:7070", "dynamodb_endpoint": "http://[::1]:8000/"},
        {"bucket": "docs.example.org", "path_style": "true"}, {"region": "us-gov-west-1"},
        {"table": "Workspace_Items.v2-prod"},
    ],
)  # fmt: skip
def test_good_settings_of_aws(tmp_path: Path, settings: dict[str, str]) -> None:
    check(aws(**settings), tmp_path)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("region", "Europe"), ("region", ""), ("table", "t"), ("table", "a b"), ("table", ""),
        ("bucket", "B"), ("bucket", "a..b"), ("bucket", "a.-b"), ("bucket", "10.0.0.1"),
        ("bucket", "-ab"), ("bucket", "x" * 64), ("bucket", "a/b"), ("bucket", "ab\n"),
        ("path_style", "yes"), ("profile", "a\tb"), ("profile", "-x"), ("folder", "/srv/o"),
        ("s3_endpoint", "http://10.0.0.1:9000"), ("s3_endpoint", "http://169.254.169.254"),
        ("s3_endpoint", "ftp://h"), ("s3_endpoint", "https://h/x"), ("s3_endpoint", "https://h?x"),
        ("s3_endpoint", "https://u@h"), ("s3_endpoint", "https://h:0"), ("s3_endpoint", "h:9000"),
        ("s3_endpoint", "https://h:99999"), ("s3_endpoint", "https://a b"),
        ("s3_endpoint", "https://"), ("s3_endpoint", "http://127.0.0.1.example.org"),
        ("s3_endpoint", "http://localhost@example.org"), ("dynamodb_endpoint", "http://h"),
        ("endpoint", MINIO),
    ],
)  # fmt: skip
def test_wrong_settings_of_aws(tmp_path: Path, name: str, value: str) -> None:
    assert refused(aws(**{name: value}), tmp_path) == f"settings.{name}"


def test_a_bucket_with_dots_needs_path_style(tmp_path: Path) -> None:
    assert refused(aws(bucket="docs.example.org"), tmp_path) == "settings.path_style"


@pytest.mark.parametrize("connection_id", ["My-S3", "my_s3", "my.s3"])
def test_two_ids_never_share_the_variables_of_their_keys(
    tmp_path: Path, connection_id: str
) -> None:
    assert refused(aws(connection_id), tmp_path) == "connection_id"
    assert variable_of("my-s3", "SESSION_TOKEN") == "WM_CONNECTION_MY_S3_AWS_SESSION_TOKEN"


@pytest.mark.parametrize(
    ("settings", "field"),
    [
        ({}, "folder"), ({**S3, "folder": "/srv/o"}, "folder"),
        ({"bucket": "prod-docs"}, "region"),
        ({"folder": "/srv/o", "region": "eu-central-1"}, "region"),
        ({"folder": "/srv/o", "s3_endpoint": MINIO}, "s3_endpoint"),
        ({"folder": "/srv/o", "path_style": "true"}, "path_style"),
        ({"folder": "/srv/o", "profile": "ops"}, "profile"),
        ({**S3, "table": "t12"}, "table"),
        ({**S3, "s3_endpoint": "http://example.org"}, "s3_endpoint"),
    ],
)  # fmt: skip
def test_the_objects_of_a_database_are_in_one_place(
    tmp_path: Path, settings: dict[str, str], field: str
) -> None:
    assert refused(postgres(**settings), tmp_path) == f"settings.{field}"
    check(postgres(**S3), tmp_path)
    check(postgres(**S3, s3_endpoint=MINIO, path_style="true", profile="ops"), tmp_path)


@pytest.mark.case("S10")
@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("access_key", "hidden1"), ("aws_secret_access_key", "x"), ("session_token", "x"),
        ("profile", "AKIA" + "IOSFODNN7EXAMPLE"), ("s3_endpoint", "https://u:pw" + "@h"),
        ("bucket", "wJalrXUtnFEMI/K7MDENG/" + "bPxRfiCYEXAMPLEKEY"),
    ],
)  # fmt: skip
def test_manifests_hold_no_keys(tmp_path: Path, name: str, value: str) -> None:
    with pytest.raises(WorkspaceError) as caught:
        check(aws(**{name: value}), tmp_path)
    assert caught.value.reason == Reason.ERROR_REASON_SECRET_REFUSED
    assert value not in str(caught.value) or len(value) < 3


def test_stores_are_known_by_their_names() -> None:
    cloud = aws()
    assert places_of(cloud) == {"dynamodb:eu-central-1/prod", "s3:prod-docs"}
    assert place_of(cloud) == "dynamodb:eu-central-1/prod"
    assert places_of(cloud) & places_of(aws(table="other", profile="x")), "the same bucket"
    assert places_of(cloud) & places_of(aws(bucket="other-docs")), "the same table"
    assert places_of(cloud) & places_of(postgres(**S3))
    assert not places_of(cloud) & places_of(aws(region="us-east-1", bucket="other-docs"))
    assert not places_of(cloud) & places_of(
        aws(s3_endpoint=MINIO, dynamodb_endpoint="http://localhost:8000")
    )


def test_one_server_has_one_name() -> None:
    def bucket(url: str) -> str:
        return stores_of({"bucket": "docs", "s3_endpoint": url})["bucket"]

    assert bucket("https://Minio.Example.org:443/") == bucket("https://minio.example.org")
    assert bucket("http://127.0.0.1:9000") == bucket("http://localhost:9000/")
    assert bucket("https://s3.eu-central-1.amazonaws.com") == "s3:docs" == bucket("")
    assert bucket("https://s3.dualstack.eu-central-1.amazonaws.com") == "s3:docs"
    assert bucket("https://[broken") == "s3:docs@https://[broken", "a file edited by hand"
    assert store_name(" s3:docs@Minio.example.org:9000 ") == bucket(MINIO)
    assert store_name(f"s3:docs@{MINIO}") == bucket(MINIO)
    assert store_name("s3:docs") == bucket("")


@pytest.mark.parametrize(
    "host",
    [
        "ec2-1-2-3-4.eu-central-1.compute.amazonaws.com", "s3-evil-1.eu-west-1.elb.amazonaws.com",
        "s3.amazonaws.com.example.org", "s3.evil.amazonaws.com.example.org", "bad-s3.amazonaws.com",
        "docs.s3.amazonaws.com", "s3.elb.amazonaws.com",
    ],
)  # fmt: skip
def test_hosts_of_customers_of_aws_are_not_aws(host: str) -> None:
    assert endpoint(f"https://{host}") == ""
    assert not is_aws(f"https://{host}")


def test_our_own_stores_are_no_surface(tmp_path: Path) -> None:
    settings = Settings(
        records="dynamodb", objects="s3", aws_region="eu-central-1", aws_dynamodb_table="prod",
        aws_s3_bucket="prod-docs",
    )  # fmt: skip
    own = own_stores(settings)
    assert own == {"dynamodb:eu-central-1/prod", "s3:prod-docs"}
    assert refused(aws(table="other"), tmp_path, own=own) == "settings.bucket"
    assert refused(aws(bucket="other-docs"), tmp_path, own=own) == "settings.table"
    assert refused(postgres(**S3), tmp_path, own=own) == "settings.bucket"
    alias = postgres(**S3, s3_endpoint="https://s3.eu-central-1.amazonaws.com")
    assert refused(alias, tmp_path, own=own) == "settings.bucket"
    check(aws(table="other", bucket="other-docs"), tmp_path, own=own)
    assert own_stores(Settings(aws_s3_bucket="prod-docs")) == frozenset()


LISTED = ["dynamodb:eu-central-1/prod", "s3:prod-docs", "db.example.org"]


def test_owners_reach_the_stores_that_the_operator_lists() -> None:
    reach = Reach([*LISTED, "s3:prod-docs@minio.example.org:9000"], anywhere=False)
    reach.check(aws())
    reach.check(aws(s3_endpoint=MINIO))
    reach.check(postgres(**S3))


@pytest.mark.case("S08")
@pytest.mark.parametrize(
    ("connection", "field"),
    [
        (aws(table="other"), "table"), (aws(bucket="other-docs"), "bucket"),
        (aws(region="us-east-1"), "table"), (aws(s3_endpoint=MINIO), "bucket"),
        (aws(dynamodb_endpoint="http://localhost:8000"), "table"),
        (aws(s3_endpoint="https://ec2-1-2-3-4.compute-1.amazonaws.com"), "bucket"),
        (aws(profile="admin"), "profile"),
        (postgres(**{**S3, "bucket": "other-docs"}), "bucket"),
        (postgres(**{**S3, "host": "10.0.0.1"}), "host"),
    ],
)  # fmt: skip
def test_owners_reach_no_other_stores(connection: Connection, field: str) -> None:
    for places in (LISTED, [*LISTED, "minio.example.org", "localhost", "/"]):
        with pytest.raises(WorkspaceError) as caught:
            Reach(places, anywhere=False).check(connection)
        assert caught.value.metadata["field"] == f"connection.settings.{field}"
    Reach([], anywhere=True).check(connection)


def test_a_refusal_names_the_entry_that_is_missing() -> None:
    with pytest.raises(WorkspaceError, match=r"`s3:prod-docs@minio\.example\.org:9000`"):
        Reach(LISTED, anywhere=False).check(aws(s3_endpoint=MINIO))


KEY, SECRET = variable_of("cloud", "ACCESS_KEY_ID"), variable_of("cloud", "SECRET_ACCESS_KEY")


@pytest.mark.case("S10")
def test_keys_are_the_connections_own() -> None:
    everybody = {"AWS_ACCESS_KEY_ID": "all", "AWS_SECRET_ACCESS_KEY": "all"}
    assert keys_of(aws(), everybody) is None, "AWS is asked with the server's own"
    found = keys_of(aws(), {KEY: "key1", SECRET: "hidden1", **everybody})
    assert found is not None
    assert (found.access_key_id, found.secret_access_key) == ("key1", "hidden1")
    assert "hidden1" not in repr(found)
    assert keys_of(aws("other"), {KEY: "key1", SECRET: "hidden1"}) is None
    for half in ({KEY: "key1"}, {SECRET: "hidden1"}):
        with pytest.raises(WorkspaceError, match="go together") as caught:
            keys_of(aws(), half)
        assert "hidden1" not in str(caught.value)


@pytest.mark.case("S08", "S10")
@pytest.mark.parametrize("name", ["s3_endpoint", "dynamodb_endpoint"])
def test_the_servers_own_keys_go_to_aws_alone(name: str) -> None:
    elsewhere = aws(**{name: MINIO})
    with pytest.raises(WorkspaceError, match="for AWS alone") as caught:
        keys_of(elsewhere, {"AWS_ACCESS_KEY_ID": "all", "AWS_SECRET_ACCESS_KEY": "all"})
    assert KEY in caught.value.message
    assert keys_of(elsewhere, {KEY: "key1", SECRET: "hidden1"}) is not None
    assert keys_of(aws(**{name: MINIO}, profile="minio"), {}) is None
    assert keys_of(aws(**{name: "https://s3.eu-central-1.amazonaws.com"}), {}) is None


@pytest.mark.usefixtures("aws_environment")
def test_the_connections_own_keys_are_the_ones_that_sign() -> None:
    from services.aws.clients import AwsClients
    from services.aws.place import AwsKeys, AwsPlace

    clients = AwsClients(AwsPlace("eu-central-1"), keys=AwsKeys("key1", "hidden1", "session1"))
    found = clients.credentials()
    assert (found.access_key, found.secret_key, found.token) == ("key1", "hidden1", "session1")
    assert AwsClients(AwsPlace("eu-central-1")).credentials().access_key != "key1"
