"""Opens what the settings name. A provider's SDK is imported only here, lazily,
and a missing extra gives the command that installs it."""

from __future__ import annotations

import logging
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from services.aws.selected import aws_place
from services.azure.selected import azure_place
from services.mail.folder import FolderMail
from services.mail.port import MailDriver
from services.model.clocks import HybridClock
from services.model.errors import Reason, WorkspaceError, invalid_field
from services.objects.filesystem import FilesystemDriver
from services.objects.keyring import Keyring
from services.objects.port import ObjectDriver
from services.objects.tokens import UrlSigner
from services.private_files import make_folder
from services.records.instance import Instance, open_instance
from services.records.port import Item, RecordDriver
from services.records.sql import SqliteDriver
from services.records.store import RecordStore
from services.settings import Settings

if TYPE_CHECKING:
    from services.aws.clients import AwsClients

__all__ = [
    "database_file",
    "open_data_dir",
    "open_keyring",
    "open_mail",
    "open_objects",
    "open_record_driver",
    "open_records",
    "record_snapshot",
    "wall_millis",
]

T = TypeVar("T")
_log = logging.getLogger("workspace.backends")

_POINT_READ_CACHE = 16 << 20
"""Bytes of items that are kept to answer point reads without SQLite."""


def open_data_dir(path: Path) -> Path:
    """Make the data folder (0700) or explain why it cannot be used."""
    try:
        make_folder(path)
    except OSError as error:
        raise WorkspaceError(
            Reason.ERROR_REASON_INVALID_STATE,
            f"the data folder {path} cannot be used ({error.strerror}); "
            "choose another with --data or WM_DATA_DIR",
            metadata={"field": "WM_DATA_DIR"},
        ) from error
    return path


async def open_records(settings: Settings) -> tuple[RecordStore, Instance]:
    """The record store of the deployment, in a new generation."""
    driver = await open_record_driver(settings)
    instance = await open_instance(driver)
    clock = HybridClock(wall_millis)
    if instance.floor:
        clock.observe(instance.floor)
    return RecordStore(driver, actor=instance.actor, clock=clock), instance


async def open_objects(
    settings: Settings, signer: UrlSigner, public_url: str, *, private: bool = True
) -> ObjectDriver:
    """The object driver of the deployment; `public_url` begins the signed URLs of files
    that we serve ourselves. Raises INVALID_STATE for a bucket that everybody may read or
    write; with `private` False it is taken, to be read."""
    if settings.objects == "filesystem":
        root = settings.data_dir / "objects"
        return FilesystemDriver(root, signer=signer, public_url=public_url)
    if settings.objects == "azure_blob":
        return await _open_azure_blob(settings, private=private)
    from services.aws.clients import AwsClients
    from services.objects.s3 import S3Driver

    clients = AwsClients(aws_place(settings))
    bucket, path_style = settings.aws_s3_bucket, settings.aws_s3_path_style
    driver = await _or_close(S3Driver.open(clients, bucket, path_style=path_style), clients.close)
    if private:
        await _or_close(_require_private(clients, bucket, path_style), driver.close)
    return driver


def open_mail(settings: Settings) -> MailDriver | None:
    """What takes mail to people; None when it is switched off."""
    if settings.mail == "off":
        return None
    if settings.mail == "folder":
        return FolderMail(settings.data_dir / "mail", sender=settings.mail_from, now=time.time)
    if settings.mail == "ses":
        return _open_ses(settings)
    if settings.mail == "communication":
        return _open_communication(settings)
    from services.mail.smtp import SmtpMail, SmtpServer

    password = settings.smtp_password
    server = SmtpServer(
        settings.smtp_host,
        settings.smtp_port,
        settings.smtp_security,
        settings.smtp_username,
        password.get_secret_value() if password else "",
    )
    return SmtpMail(server, sender=settings.mail_from, now=time.time)


def open_keyring(settings: Settings) -> Keyring:
    """Signing keys of this deployment: `keys/` in the data folder."""
    return Keyring.open(settings.data_dir / "keys")


def wall_millis() -> int:
    """Unix time in milliseconds."""
    return time.time_ns() // 1_000_000


async def open_record_driver(settings: Settings) -> RecordDriver:
    """The database of the deployment, opened for this process."""
    if settings.records == "sqlite":
        return await SqliteDriver.open(database_file(settings), cache_bytes=_POINT_READ_CACHE)
    if settings.records == "dynamodb":
        return await _open_dynamodb(settings)
    if settings.records == "cosmos":
        return await _open_cosmos(settings)
    from services.records.sql import PostgresDriver

    return await PostgresDriver.open(_dsn(settings), migrate=settings.migrate_at_start)


def record_snapshot(settings: Settings) -> AsyncIterator[list[Item]]:
    """Every row of one moment, read beside the process that serves."""
    from services.records.sql.snapshot import postgres_snapshot, sqlite_snapshot

    if settings.records == "dynamodb":
        raise WorkspaceError(
            Reason.ERROR_REASON_INVALID_STATE,
            "DynamoDB has no copy of one moment for `wm backup`: use its point-in-time recovery "
            "(on in what `wm setup aws` makes), or push to another surface with `wm sync push`",
            metadata={"field": "WM_RECORDS"},
        )
    if settings.records == "cosmos":
        raise WorkspaceError(
            Reason.ERROR_REASON_INVALID_STATE,
            "Cosmos DB has no copy of one moment for `wm backup`: use its continuous backup (on "
            "in what `wm setup azure` makes), or push to another surface with `wm sync push`",
            metadata={"field": "WM_RECORDS"},
        )
    if settings.records == "sqlite":
        return sqlite_snapshot(database_file(settings))
    return postgres_snapshot(_dsn(settings))


def database_file(settings: Settings) -> Path:
    """The SQLite file of a local workspace."""
    return settings.data_dir / "workspace.sqlite"


async def _open_dynamodb(settings: Settings) -> RecordDriver:
    from services.aws.clients import AwsClients
    from services.records.dynamodb import DynamoDriver

    clients = AwsClients(aws_place(settings))
    return await _or_close(DynamoDriver.open(clients, settings.aws_dynamodb_table), clients.close)


async def _open_cosmos(settings: Settings) -> RecordDriver:
    from services.azure.clients import AzureClients
    from services.records.cosmos import CosmosDriver

    clients = AzureClients(azure_place(settings))
    opening = CosmosDriver.open(
        clients,
        settings.azure_cosmos_account,
        settings.azure_cosmos_database,
        settings.azure_cosmos_container,
    )
    return await _or_close(opening, clients.close)


async def _open_azure_blob(settings: Settings, *, private: bool) -> ObjectDriver:
    from services.azure.clients import AzureClients
    from services.objects.azure_blob import AzureBlobDriver

    clients = AzureClients(azure_place(settings))
    account, container = settings.azure_storage_account, settings.azure_storage_container
    driver = await _or_close(AzureBlobDriver.open(clients, account, container), clients.close)
    if private:
        await _or_close(driver.require_private(), driver.close)
    return driver


async def _require_private(clients: AwsClients, bucket: str, path_style: bool) -> None:
    from services.objects.s3.exposure import require_private

    action = await require_private(clients, bucket, path_style=path_style)
    if action:
        _log.warning("whether bucket %s is public cannot be told: allow %s", bucket, action)


def _open_ses(settings: Settings) -> MailDriver:
    from services.aws.clients import AwsClients
    from services.mail.ses import SesMail, SesSender

    sender = SesSender(
        settings.mail_from, settings.ses_configuration_set, settings.ses_identity_arn
    )
    return SesMail(AwsClients(aws_place(settings), workers=8), sender, now=time.time)


def _open_communication(settings: Settings) -> MailDriver:
    from services.azure.clients import AzureClients
    from services.mail.communication import CommunicationMail

    return CommunicationMail(
        AzureClients(azure_place(settings)),
        settings.azure_communication_endpoint,
        sender=settings.mail_from,
        now=time.time,
    )


async def _or_close(opening: Awaitable[T], close: Callable[[], Awaitable[None]]) -> T:
    """What is being opened; if that fails, what it stands on is closed."""
    try:
        return await opening
    except BaseException:
        await close()
        raise


def _dsn(settings: Settings) -> str:
    if settings.records_dsn is None:
        raise invalid_field("WM_RECORDS_DSN", "is needed when WM_RECORDS is postgresql")
    return settings.records_dsn.get_secret_value()
