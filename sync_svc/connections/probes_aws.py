"""What a test asks of tables and buckets beside reading and writing."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from workspace.sync.v1.connection_pb2 import Connection

from sync_svc.connections.notable import Notable
from sync_svc.surfaces.aws import clients_of
from sync_svc.surfaces.surface import Surface

if TYPE_CHECKING:
    from services.aws.clients import AwsClients

__all__ = ["bucket_is_closed", "can_be_recovered"]


async def bucket_is_closed(_: Surface, connection: Connection) -> None:
    """A public bucket is refused when it is opened; here is told what is not known."""
    from services.objects.s3.exposure import unknown_exposure

    async with clients_of(connection) as clients:
        action = await unknown_exposure(
            clients, connection.settings["bucket"], path_style=_path_style(connection)
        )
    if action:
        raise Notable(
            f"whether everybody can read the bucket is not known: allow {action} to the "
            "credentials of the connection"
        )


async def can_be_recovered(_: Surface, connection: Connection, __: float) -> None:
    """Versions of objects, and the table at any moment of the last weeks. Servers that
    have no such thing are left alone."""
    async with clients_of(connection) as clients:
        missing = [
            *await _versions(clients, connection), *await _moments(clients, connection)
        ]  # fmt: skip
    if missing:
        raise Notable(f"{' and '.join(missing)}: `wm setup aws` switches it on")


async def _versions(clients: AwsClients, connection: Connection) -> list[str]:
    bucket, path_style = connection.settings["bucket"], _path_style(connection)

    def asked() -> Any:  # in a thread: making a client takes long
        return clients.client("s3", path_style=path_style).get_bucket_versioning(Bucket=bucket)

    answer = await _answer(clients, asked)
    if answer is None or answer.get("Status") == "Enabled":
        return []
    return ["the bucket keeps no former versions of objects"]


async def _moments(clients: AwsClients, connection: Connection) -> list[str]:
    table = connection.settings.get("table", "")
    if not table:
        return []

    def asked() -> Any:
        return clients.client("dynamodb").describe_continuous_backups(TableName=table)

    found = (await _answer(clients, asked) or {}).get("ContinuousBackupsDescription", {})
    status = found.get("PointInTimeRecoveryDescription", {}).get("PointInTimeRecoveryStatus")
    return ["the table has no point-in-time recovery"] if status == "DISABLED" else []


async def _answer(clients: AwsClients, asked: Callable[[], Any]) -> dict[str, Any] | None:
    """None when it is not allowed, or not known to the server."""
    from botocore.exceptions import BotoCoreError, ClientError

    try:
        answer: dict[str, Any] = await clients.run(asked)
    except (BotoCoreError, ClientError):
        return None
    return answer


def _path_style(connection: Connection) -> bool:
    return bool(connection.settings.get("path_style") == "true")
