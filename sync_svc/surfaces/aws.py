"""DynamoDB and S3, or servers that speak their protocols, as a surface.

Credentials are those of the connection alone, else of the `profile` it names, else those
the server has itself. The last go to AWS only: a server that is not AWS is a place that
a manifest chooses, and the token of a session would be sent to it.
    WM_CONNECTION_<ID>_AWS_ACCESS_KEY_ID, ..._AWS_SECRET_ACCESS_KEY, ..._AWS_SESSION_TOKEN
(the id in capitals, `-` as `_`).
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from functools import partial
from typing import TYPE_CHECKING, Final, TypeVar

from workspace.sync.v1.connection_pb2 import Connection

from services.aws.place import AwsKeys, AwsPlace
from services.objects.store import ObjectStore
from services.records.port import RecordDriver
from sync_svc.connections.stores_aws import is_aws
from sync_svc.surfaces import cloud

if TYPE_CHECKING:  # an extra, and slow to import
    from services.aws.clients import AwsClients

__all__ = ["clients_of", "keys_of", "open_dynamodb_records", "open_s3_objects", "variable_of"]

T = TypeVar("T")
_OPEN_SECONDS = 11.0
_CALL_SECONDS = 6.0
_PARTS: Final = ("ACCESS_KEY_ID", "SECRET_ACCESS_KEY", "SESSION_TOKEN")


def variable_of(connection_id: str, part: str) -> str:
    """The environment variable with a part of a connection's own credentials."""
    return cloud.variable_of(connection_id, f"AWS_{part}")


def keys_of(
    connection: Connection, environment: Mapping[str, str] = os.environ
) -> AwsKeys | None:
    """The connection's own credentials; None: it has none. Raises INVALID_STATE for half
    of them, and where others would go to a server that is not AWS."""
    names = [variable_of(connection.connection_id, part) for part in _PARTS]
    key, secret, token = (environment.get(name, "") for name in names)
    if key and secret:
        return AwsKeys(key, secret, token)
    if key or secret:
        text = f"{names[0]} and {names[1]} go together: one of them is not set"
        raise _words(connection).refused(text)
    settings = connection.settings
    for name in ("dynamodb_endpoint", "s3_endpoint"):
        if not is_aws(settings.get(name, "")) and not settings.get("profile"):
            raise _words(connection).refused(
                f"`{name}` is not AWS, and the server's own credentials are for AWS alone: set "
                f"{names[0]} and {names[1]} in its environment, or name a `profile`"
            )
    return None


@asynccontextmanager
async def clients_of(connection: Connection) -> AsyncIterator[AwsClients]:
    """Clients for a while, with the credentials of the connection."""
    clients = await asyncio.to_thread(_clients, connection)
    try:
        yield clients
    finally:
        await clients.close()


async def open_dynamodb_records(connection: Connection, *, read_only: bool) -> RecordDriver:
    """The table that the manifest names. Raises BACKEND_UNAVAILABLE, INVALID_STATE,
    STORAGE_FULL, each with its remedy."""

    async def opening(clients: AwsClients) -> RecordDriver:
        from services.records.dynamodb import DynamoDriver

        table = connection.settings["table"]
        return await DynamoDriver.open(clients, table, read_only=read_only)

    return await _opened(connection, opening, f"the table {connection.settings['table']}")


async def open_s3_objects(connection: Connection, *, read_only: bool) -> ObjectStore:
    """The bucket that the manifest names. Raises like `open_dynamodb_records`, and
    INVALID_STATE for writing to a bucket that everybody may read or write."""

    async def opening(clients: AwsClients) -> ObjectStore:
        from services.objects.s3 import S3Driver
        from services.objects.s3.exposure import require_private

        settings = connection.settings
        bucket, path_style = settings["bucket"], settings.get("path_style") == "true"
        if not read_only:
            await require_private(clients, bucket, path_style=path_style)
        return ObjectStore(
            await S3Driver.open(clients, bucket, path_style=path_style, read_only=read_only)
        )

    return await _opened(connection, opening, f"the bucket {connection.settings['bucket']}")


def _clients(connection: Connection) -> AwsClients:
    """In a thread: importing the SDK takes a second."""
    from services.aws.clients import AwsClients

    keys, settings = keys_of(connection), dict(connection.settings)
    endpoints = {
        service: settings[f"{service}_endpoint"]
        for service in ("dynamodb", "s3")
        if settings.get(f"{service}_endpoint")
    }
    profile = "" if keys else settings.get("profile", "")
    place = AwsPlace(settings["region"], profile, "", endpoints, call_seconds=_CALL_SECONDS)
    return AwsClients(place, keys=keys)


async def _opened(
    connection: Connection, opening: Callable[[AwsClients], Awaitable[T]], what: str
) -> T:
    clients = await asyncio.to_thread(_clients, connection)
    return await cloud.opened(clients, opening, _words(connection, what), seconds=_OPEN_SECONDS)


def _words(connection: Connection, what: str = "") -> cloud.Words:
    where = f"{what} in {connection.settings['region']}"
    return cloud.Words("aws", where, partial(_remedies, connection))


def _remedies(connection: Connection) -> dict[str, str]:
    from services.aws.failures import Kind

    key, secret, token = (variable_of(connection.connection_id, part) for part in _PARTS)
    profile = connection.settings.get("profile", "")
    login = f"`aws sso login --profile {profile}`" if profile else "`aws sso login`"
    change = f"wm connections set {connection.connection_id}"
    return {
        Kind.NO_CREDENTIALS.value: f"set {key} and {secret} in the environment of this server, "
        f"or name a `profile` that it has, or sign in there with {login}",
        Kind.EXPIRED.value: "the session of the credentials has ended: sign in again with "
        f"{login} on this server, or set {key}, {secret} and {token} anew",
        Kind.BAD_CREDENTIALS.value: f"these credentials are not known there: look at {key}, or at "
        "the `profile` of the connection",
        Kind.MISSING.value: "it does not exist: make it with `wm setup aws`, or name the right one "
        f"with `{change}`",
        "set WM_AWS_REGION to that one": f"`{change} region=...`",
        "name another with AWS_PROFILE": f"name another with `{change} profile=...`",
    }
