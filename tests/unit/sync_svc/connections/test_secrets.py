"""What looks like a secret in a manifest, and what does not."""

from __future__ import annotations

import base64
import secrets

import pytest
from workspace.sync.v1.connection_pb2 import Connection

from services.model.errors import Reason, WorkspaceError
from sync_svc.connections.secrets import looks_random, refuse_secrets_in

JWT = "eyJhbGciOiJIUzI1NiJ9." + "eyJzdWIiOiIxIn0." + "c2lnbmF0dXJl"
BAD = [
    ("bucket", "AKIA" + "IOSFODNN7EXAMPLE"),
    ("profile", "ASIA" + "IOSFODNN7EXAMPLE"),
    ("bucket", "https://b.s3.amazonaws.com/k?X-Amz-Signature" + "=abc"),
    ("container", "c?sv=2024-11-04&sig=" + "abc%3D"),
    ("container", "c?se=2030-01-01T00:00:00Z&sp=rw"),
    ("account", "AccountName=a;AccountKey=" + "abc=="),
    ("host", "postgres://u:p" + "@db.example.org/x"),
    ("host", "host=db password=" + "hunter2"),
    ("database", JWT),
    ("database", "-----BEGIN PRIVATE KEY-----"),
    ("database", "-----BEGIN EC PRIVATE KEY-----"),
    ("password", "short"),
    ("token", "abc"),
    ("bucket", "0123456789abcdef" * 4),
    ("table", "q7Zt0Kx3Lm9Vb2Nc8Ws4Ed6Rf1"),
    ("folder", "/srv/q7Zt0Kx3Lm9Vb2Nc8Ws4Ed6Rf1"),
]


@pytest.mark.case("S10")
@pytest.mark.parametrize(("key", "value"), BAD)
def test_secrets_in_settings_are_refused(key: str, value: str) -> None:
    with pytest.raises(WorkspaceError) as caught:
        refuse_secrets_in(Connection(settings={key: value}))
    assert caught.value.reason == Reason.ERROR_REASON_SECRET_REFUSED
    assert caught.value.metadata["field"] == f"connection.settings.{key}"
    assert value not in str(caught.value) or len(value) < 6


@pytest.mark.case("S10")
@pytest.mark.parametrize("field", ["name", "note"])
def test_secrets_in_texts_are_refused(field: str) -> None:
    for value in ("see " + JWT, "the key q7Zt0Kx3Lm9Vb2Nc8Ws4Ed6Rf1 works", "sig=" + "x%3D"):
        with pytest.raises(WorkspaceError) as caught:
            refuse_secrets_in(Connection(**{field: value}))
        assert caught.value.metadata["field"] == f"connection.{field}"


@pytest.mark.parametrize(
    "settings",
    [
        {"folder": "/media/ann/Backup Disk 2026/Workspace"},
        {"folder": "/var/folders/zz/zyxvpxvq6csfxvn_n0000000000000/T/tmpabc"},
        {"folder": "/tmp/pytest-of-root/pytest-12/test_A_folder_that_is_served_is0"},
        {"host": "workspace-1.cluster-abcdefghijkl.eu-central-1.rds.amazonaws.com"},
        {"host": "2001:db8::1", "port": "5432", "sslmode": "verify-full"},
        {"database": "workspace_production_2026", "user": "workspace_sync"},
        {"bucket": "workspace-management-dev-documents", "region": "us-east-1"},
        {"host": "https://Wiki.Example.com/Team1/Ops2/Backups-Of-2026"},
    ],
)  # fmt: skip
def test_names_of_resources_are_not(settings: dict[str, str]) -> None:
    refuse_secrets_in(Connection(settings=settings, name="Blue disk", note="Weekly.\nIn the safe."))


def test_random_tokens_of_every_usual_alphabet_are_found() -> None:
    """Three of 600 are missed on average: more than 18 in one of 10^9 runs."""
    missed = 0
    for _ in range(300):
        data = secrets.token_bytes(32)
        for text in (base64.b64encode(data).decode(), secrets.token_urlsafe(32)):
            missed += not looks_random(text)
    assert missed <= 18, "of 600"
