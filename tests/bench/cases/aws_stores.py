"""Stores for the cases of AWS: real servers on loopback, real signatures.

DynamoDB Local keeps its tables in memory, versitygw its objects in a folder for
temporary files. Both take processor time of this machine, which a service far away
would not, and answer in a millisecond, which it would not either.
"""

from __future__ import annotations

import tempfile
import uuid
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from functools import cache
from pathlib import Path
from typing import Any

from services.aws.clients import AwsClients
from services.aws.place import AwsPlace
from services.objects.s3 import S3Driver
from services.objects.store import ObjectStore
from services.records.dynamodb.driver import DynamoDriver
from services.records.dynamodb.provision import ensure_table
from sync_svc.surfaces.surface import Surface
from tests.bench.surfaces import surface_of
from tests.servers import aws, tools
from tests.servers.buckets import credentials, new_bucket
from tests.servers.ports import free_port
from tests.servers.process import Server, remove_later

__all__ = ["MISSING_GO", "MISSING_JAVA", "bucket", "opened_aws", "place", "servers", "table"]

MISSING_JAVA = "" if tools.HAS_JAVA else "DynamoDB Local (Java and Maven)"
_FOLDERS: list[Path] = []
MISSING_GO = "" if tools.HAS_GO else "versitygw (Go)"


@contextmanager
def servers() -> Iterator[None]:
    """Credentials for the servers of tests; those that were started end."""
    with credentials():
        try:
            yield
        finally:
            aws.stop_servers()
            if _versitygw.cache_info().currsize:
                _versitygw().stop()
                _versitygw.cache_clear()
            while _FOLDERS:
                remove_later(_FOLDERS.pop())


def place(**endpoints: str) -> AwsPlace:
    """Where a service is, by its URL."""
    return AwsPlace(aws.REGION, endpoints=endpoints)


@cache
def _versitygw() -> Server:
    """As tests have it, but it keeps connections, as S3 does (its default is one for
    each request, which costs every client more than what is to be measured)."""
    folder, port = Path(tempfile.mkdtemp(prefix="versitygw-")), free_port()
    _FOLDERS.append(folder)
    command = [
        str(tools.versitygw()), "--port", f"127.0.0.1:{port}", "--region", aws.REGION,
        "--access", aws.ACCESS_KEY, "--secret", aws.SECRET_KEY, "--keep-alive", "posix",
        str(folder),
    ]  # fmt: skip
    return Server(command, url=f"http://127.0.0.1:{port}/")


def bucket() -> tuple[str, str]:
    """(URL of versitygw, name of an empty bucket)."""
    server = _versitygw()
    return server.url.rstrip("/"), new_bucket(server)


async def table(url: str = "") -> tuple[AwsClients, str]:
    """Clients of DynamoDB Local (behind `url`, if given), and an empty table."""
    clients = AwsClients(place(dynamodb=url or aws.dynamodb_local().url))
    name = f"bench-{uuid.uuid4().hex[:12]}"
    await ensure_table(clients, name)
    return clients, name


@asynccontextmanager
async def opened_aws(name: str) -> AsyncIterator[Surface]:
    """A new surface of DynamoDB Local and versitygw."""
    clients, table_name = await table()
    url, bucket_name = bucket()
    driver = await DynamoDriver.open(clients, table_name)
    files: Any = await S3Driver.open(AwsClients(place(s3=url)), bucket_name, path_style=True)
    objects = ObjectStore(files)
    async with surface_of(name, driver, objects) as surface:
        yield surface
