"""Servers that speak the protocols of AWS, one of each kind in a pytest process.

* moto: every service; checks no signature.
* DynamoDB Local: DynamoDB by its authors.
* versitygw: S3 with every signature and checksum verified.

`stop_servers` ends them (tests/conftest.py calls it).
"""

from __future__ import annotations

import sys
import tempfile
from functools import cache
from pathlib import Path

from services.aws.clients import AwsClients
from services.aws.place import AwsPlace
from tests.servers import tools
from tests.servers.ports import free_port
from tests.servers.process import Server, remove_later

__all__ = [
    "ACCESS_KEY", "REGION", "SECRET_KEY", "clients_of", "dynamodb_local", "environment",
    "make_bucket", "make_table", "moto", "moto_of_messages", "stop_servers", "versitygw",
]  # fmt: skip

REGION = "eu-central-1"
# DynamoDB Local wants letters and digits only.
ACCESS_KEY, SECRET_KEY = "LOCALTESTKEY", "local0test0secret"
_FOLDERS: list[Path] = []
_CLASS = Path(__file__).parent / "dynamodb_local" / "Loopback.java"


def environment() -> dict[str, str]:
    """Variables with which the SDK signs for these servers, and finds nothing else."""
    return {
        "AWS_ACCESS_KEY_ID": ACCESS_KEY,
        "AWS_SECRET_ACCESS_KEY": SECRET_KEY,
        "AWS_DEFAULT_REGION": REGION,
        "AWS_EC2_METADATA_DISABLED": "true",
        "AWS_CONFIG_FILE": "/dev/null",
        "AWS_SHARED_CREDENTIALS_FILE": "/dev/null",
    }


@cache
def moto() -> Server:
    """All of AWS, without signatures."""
    return _moto()


@cache
def moto_of_messages() -> Server:
    """Another one, for mail and events: moto cannot list what was sent any more once
    there are tables and buckets."""
    return _moto()


def _moto() -> Server:
    port = free_port()
    command = [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)]
    # Its own account in the environment: it must not look for another.
    return Server(command, url=f"http://127.0.0.1:{port}/moto-api/", environment=environment())


@cache
def dynamodb_local() -> Server:
    """DynamoDB Local, in memory. Needs `tools.HAS_JAVA`."""
    jars, port = tools.dynamodb_local(), free_port()
    command = [
        "java", "-Xmx512m", f"-Djava.library.path={jars}", "-cp", f"{jars}/*", str(_CLASS),
        "-inMemory", "-sharedDb", "-disableTelemetry", "-port", str(port),
    ]  # fmt: skip
    return Server(command, url=f"http://127.0.0.1:{port}/")


@cache
def versitygw() -> Server:
    """An S3 server over a folder. Needs `tools.HAS_GO`."""
    folder, port = Path(tempfile.mkdtemp(prefix="versitygw-")), free_port()
    _FOLDERS.append(folder)
    data = folder / "data"
    data.mkdir()
    command = [
        str(tools.versitygw()), "--port", f"127.0.0.1:{port}", "--region", REGION,
        "--access", ACCESS_KEY, "--secret", SECRET_KEY, "posix", str(data),
    ]  # fmt: skip
    return Server(command, url=f"http://127.0.0.1:{port}/")


def clients_of(server: Server, *, region: str = REGION) -> AwsClients:
    """Clients that speak to one server for every service. The variables of
    `environment` must be set (the `aws_environment` fixture does it)."""
    return AwsClients(AwsPlace(region, endpoint=server.url.removesuffix("moto-api/").rstrip("/")))


def make_table(server: Server, name: str) -> None:
    """An empty table of records."""
    from services.records.dynamodb.schema import table_definition

    clients = clients_of(server)
    clients.client("dynamodb").create_table(**table_definition(name))


def make_bucket(server: Server, name: str) -> None:
    """An empty bucket."""
    region = {"LocationConstraint": REGION}
    client = clients_of(server).client("s3", path_style=True)
    client.create_bucket(Bucket=name, CreateBucketConfiguration=region)


def stop_servers() -> None:
    """End those that were started. What they kept is removed later: a process of xdist has
    ten seconds for its end, and whatever it has not ended by then goes on."""
    for start in (moto, moto_of_messages, dynamodb_local, versitygw):
        if start.cache_info().currsize:
            start().stop()
            start.cache_clear()
    while _FOLDERS:
        remove_later(_FOLDERS.pop())
