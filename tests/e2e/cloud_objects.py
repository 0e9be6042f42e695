"""Object stores of clouds, as somebody beside the workspace sees them: one interface for the
emulators of S3 and of Blob Storage."""

from __future__ import annotations

import secrets
import ssl
import urllib.parse
import urllib.request
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any
from xml.etree import ElementTree as ET

from tests.servers import aws, azure, containers

__all__ = ["CLOUDS", "S3", "BlobStorage", "Cloud", "Stored"]


@dataclass(frozen=True)
class Stored:
    """An object with what `put` needs to make it again."""

    body: bytes
    content_type: str
    metadata: dict[str, str]


class Cloud(ABC):
    """`place` is the setting that names a bucket or container; `setup` what makes it;
    `records` settings that select the cloud's records, whose `recovery` is not by `wm`."""

    place: str
    setup: str
    records: dict[str, str]
    recovery: str

    @abstractmethod
    def new(self) -> str:
        """An empty bucket or container."""

    @abstractmethod
    def settings(self) -> dict[str, str]:
        """Variables that select the store, but for `place`."""

    @abstractmethod
    def keys(self, place: str) -> list[str]:
        """What files it has, in order."""

    @abstractmethod
    def get(self, place: str, key: str) -> Stored: ...

    @abstractmethod
    def put(self, place: str, key: str, stored: Stored) -> None: ...

    @abstractmethod
    def delete(self, place: str, key: str) -> None: ...


class S3(Cloud):
    place = "WM_AWS_S3_BUCKET"
    setup = "wm setup aws"
    records = {"WM_RECORDS": "dynamodb", "WM_AWS_DYNAMODB_TABLE": "rows"}  # noqa: RUF012
    recovery = "point-in-time recovery"

    def __init__(self) -> None:
        self._url = aws.moto().url.removesuffix("moto-api/").rstrip("/")

    def new(self) -> str:
        name = f"wm-{secrets.token_hex(5)}"
        place = {"LocationConstraint": aws.REGION}
        self._client().create_bucket(Bucket=name, CreateBucketConfiguration=place)
        return name

    def settings(self) -> dict[str, str]:
        return aws.environment() | {
            "WM_OBJECTS": "s3", "WM_AWS_REGION": aws.REGION, "WM_AWS_S3_ENDPOINT": self._url,
            "WM_AWS_S3_PATH_STYLE": "true",
        }  # fmt: skip

    def keys(self, place: str) -> list[str]:
        found = self._client().list_objects_v2(Bucket=place).get("Contents", [])
        return [each["Key"] for each in found]

    def get(self, place: str, key: str) -> Stored:
        answer = self._client().get_object(Bucket=place, Key=key)
        return Stored(answer["Body"].read(), answer["ContentType"], answer["Metadata"])

    def put(self, place: str, key: str, stored: Stored) -> None:
        self._client().put_object(
            Bucket=place, Key=key, Body=stored.body, ContentType=stored.content_type,
            Metadata=stored.metadata, ChecksumAlgorithm="SHA256",
        )  # fmt: skip

    def delete(self, place: str, key: str) -> None:
        self._client().delete_object(Bucket=place, Key=key)

    def _client(self) -> Any:
        import boto3

        given = aws.environment().items()
        keys = {name.lower(): value for name, value in given if "ACCESS" in name}
        return boto3.client("s3", endpoint_url=self._url, region_name=aws.REGION, **keys)


class BlobStorage(Cloud):
    place = "WM_AZURE_STORAGE_CONTAINER"
    setup = "wm setup azure"
    records = {  # noqa: RUF012
        "WM_RECORDS": "cosmos", "WM_AZURE_COSMOS_ACCOUNT": "rows",
        "WM_AZURE_COSMOS_DATABASE": "db", "WM_AZURE_COSMOS_CONTAINER": "items",
    }  # fmt: skip
    recovery = "continuous backup"

    def new(self) -> str:
        return containers.new_container()

    def settings(self) -> dict[str, str]:
        """SSL_CERT_FILE is for the uploads of `wm` itself, which take the system's roots."""
        return azure.environment() | {
            "WM_OBJECTS": "azure_blob", "WM_AZURE_STORAGE_ACCOUNT": azure.ACCOUNT,
            "WM_AZURE_BLOB_ENDPOINT": azure.azurite().url.rstrip("/"),
            "WM_AZURE_CA_FILE": azure.ca_file(), "SSL_CERT_FILE": azure.ca_file(),
        }  # fmt: skip

    def keys(self, place: str) -> list[str]:
        answer = self._sent("GET", f"{place}?restype=container&comp=list")
        names = [each.text or "" for each in ET.fromstring(answer.read()).iter("Name")]
        # Those that begin with a dot are the driver's own.
        return [name for name in names if not name.startswith(".")]

    def get(self, place: str, key: str) -> Stored:
        answer = self._sent("GET", f"{place}/{urllib.parse.quote(key)}")
        metadata = {
            name.lower(): value
            for name, value in answer.headers.items()
            if name.lower().startswith("x-ms-meta-")
        }
        return Stored(answer.read(), answer.headers["Content-Type"], metadata)

    def put(self, place: str, key: str, stored: Stored) -> None:
        headers = {"Content-Type": stored.content_type, "x-ms-blob-type": "BlockBlob"}
        path = f"{place}/{urllib.parse.quote(key)}"
        self._sent("PUT", path, stored.body, headers | stored.metadata).read()

    def delete(self, place: str, key: str) -> None:
        self._sent("DELETE", f"{place}/{urllib.parse.quote(key)}").read()

    def _sent(
        self, method: str, path: str, body: bytes | None = None,
        headers: dict[str, str] | None = None,
    ) -> Any:
        token, _ = azure.sign_in().token("https://storage.azure.com")
        own = {"Authorization": f"Bearer {token}", "x-ms-version": "2023-11-03"}
        url = f"{azure.azurite().url}{azure.ACCOUNT}/{path}"
        asked = urllib.request.Request(url, body, own | (headers or {}), method=method)
        tls = ssl.create_default_context(cafile=azure.ca_file())
        return urllib.request.urlopen(asked, timeout=60, context=tls)


CLOUDS: dict[str, type[Cloud]] = {"s3": S3, "azure": BlobStorage}
