"""What `wm` says when AWS refuses: the cause, what helps, and an exit code for scripts."""

from __future__ import annotations

import json
import secrets
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import boto3
import pytest

from services.cli.exit_codes import ExitCode
from tests.e2e.serving import Serving
from tests.servers.aws import ACCESS_KEY, REGION, SECRET_KEY, environment, moto

SERVE = ("serve", "--grpc-port", "0", "--http-port", "0")
DENIED, EXPIRED = "AccessDeniedException", "ExpiredTokenException"


def endpoint() -> str:
    return moto().url.removesuffix("moto-api/").rstrip("/")


def s3() -> Any:
    return boto3.client(
        "s3", endpoint_url=endpoint(), region_name=REGION,
        aws_access_key_id=ACCESS_KEY, aws_secret_access_key=SECRET_KEY,
    )  # fmt: skip


@contextmanager
def refusing(code: str) -> Iterator[str]:
    """A DynamoDB that answers every call with one error; its URL."""
    body = json.dumps({"__type": f"com.amazonaws.dynamodb#{code}", "message": "no"}).encode()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["content-length"]))
            self.send_response(400)
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            """Silent."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()


@pytest.fixture
def served(tmp_path: Path) -> Serving:
    """A `wm serve` that would use moto, with names that nothing has."""
    one = Serving(tmp_path)
    kept = {name: value for name, value in one.env.items() if not name.startswith("AWS_")}
    one.env = kept | environment() | {
        "WM_AWS_REGION": REGION, "WM_AWS_ENDPOINT": endpoint(),
        "WM_AWS_DYNAMODB_TABLE": f"wm-{secrets.token_hex(5)}",
        "WM_AWS_S3_BUCKET": f"wm-{secrets.token_hex(5)}", "WM_AWS_S3_PATH_STYLE": "true",
    }  # fmt: skip
    return one


def refused(served: Serving, code: ExitCode, **settings: str) -> str:
    """What `wm serve` says: one line, that of the failure, and nothing of the SDK."""
    served.env |= settings
    done = served.run(*SERVE)
    assert done.returncode == code, done.stderr
    assert done.stdout == ""
    (line,) = done.stderr.splitlines()
    assert line.startswith("wm: ")
    return line


def test_no_credentials(served: Serving) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        del served.env[name]
    said = refused(served, ExitCode.NOT_SIGNED_IN, WM_RECORDS="dynamodb")
    assert "aws sso login" in said


def test_a_missing_table(served: Serving) -> None:
    said = refused(served, ExitCode.PRECONDITION, WM_RECORDS="dynamodb")
    assert served.env["WM_AWS_DYNAMODB_TABLE"] in said
    assert "wm setup aws" in said


@pytest.mark.parametrize(
    ("code", "ends_with", "words"),
    [
        (DENIED, ExitCode.DENIED, "dynamodb:DescribeTable"),
        (EXPIRED, ExitCode.NOT_SIGNED_IN, "sign in again"),
    ],
)
def test_a_refusal_of_the_service(
    served: Serving, code: str, ends_with: ExitCode, words: str
) -> None:
    with refusing(code) as url:
        said = refused(served, ends_with, WM_RECORDS="dynamodb", WM_AWS_DYNAMODB_ENDPOINT=url)
    assert words in said


def test_a_missing_bucket(served: Serving) -> None:
    said = refused(served, ExitCode.PRECONDITION, WM_OBJECTS="s3")
    assert served.env["WM_AWS_S3_BUCKET"] in said
    assert "wm setup aws" in said


def test_a_public_bucket_is_not_served_from(served: Serving) -> None:
    bucket = served.env["WM_AWS_S3_BUCKET"]
    s3().create_bucket(Bucket=bucket, CreateBucketConfiguration={"LocationConstraint": REGION})
    statement = {
        "Effect": "Allow", "Principal": "*", "Action": "s3:GetObject",
        "Resource": f"arn:aws:s3:::{bucket}/*",
    }  # fmt: skip
    policy = json.dumps({"Version": "2012-10-17", "Statement": [statement]})
    s3().put_bucket_policy(Bucket=bucket, Policy=policy)
    said = refused(served, ExitCode.PRECONDITION, WM_OBJECTS="s3")
    assert "is public (by its policy)" in said
    assert "Block Public Access" in said


def test_setup_without_credentials(served: Serving) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        del served.env[name]
    said = served.wm("setup", "aws", "--dry-run", code=ExitCode.NOT_SIGNED_IN)
    assert "aws sso login" in said
