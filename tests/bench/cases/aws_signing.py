"""Presigned URLs of S3: ours by boto3's, of the same upload and the same download."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Any

from services.aws.clients import AwsClients
from services.objects.port import SignRequest
from services.objects.s3.digests import base64_of
from services.objects.s3.driver import S3Driver
from tests.bench.case import Bench
from tests.bench.cases.aws_stores import place
from tests.bench.figures import Figure, Goal, Result, interleave
from tests.servers.buckets import credentials

TITLE = "Presigned URLs of S3, by those of boto3"
_BUCKET = "bench-bucket"
_KEY = "accounts/a_1/projects/p_1/documents/d_{}/raw/annual report.pdf"
_SHA256 = "ab" * 32
_OURS, _THEIRS = 5_000, 500


def run(bench: Bench) -> Result:
    """Microseconds of processor time a URL; no server is asked, and no other work counts."""
    with credentials():
        return asyncio.run(_measured(bench))


async def _measured(bench: Bench) -> Result:
    clients = AwsClients(place())
    driver = S3Driver(
        clients, _BUCKET, path_style=False, now=time.time, read_only=False, patience=1,
        part_bytes=16 << 20,
    )
    sdk = clients.client("s3")
    figures = []
    for method, name in (("PUT", "upload, length, type and SHA-256 bound"), ("GET", "download")):
        sides = {
            "boto3": _side(_theirs(sdk, method), _THEIRS),
            "ours": _side(_ours(driver, method), _OURS),
        }
        taken = interleave(bench.rounds, sides)
        figures.append(
            Figure(
                f"URL of an {name}" if method == "PUT" else f"URL of a {name}", "us",
                "boto3 generate_presigned_url", taken["ours"], taken["boto3"],
                more_is_better=False, goal=Goal("value", at_most=60),
            )
        )
    await clients.close()
    return Result(figures)


def _ours(driver: S3Driver, method: str) -> Callable[[int], object]:
    def sign(number: int) -> object:
        upload = {"size": 1000, "sha256": _SHA256, "content_type": "application/pdf"}
        more: dict[str, Any] = upload if method == "PUT" else {}
        return driver.sign(SignRequest(method, _KEY.format(number), 900, **more))

    return sign


def _theirs(sdk: Any, method: str) -> Callable[[int], object]:
    upload = {
        "ContentLength": 1000, "ContentType": "application/pdf", "IfNoneMatch": "*",
        "ChecksumSHA256": base64_of(_SHA256),
    }  # fmt: skip
    more = upload if method == "PUT" else {}
    operation = "put_object" if method == "PUT" else "get_object"

    def sign(number: int) -> object:
        parameters = {"Bucket": _BUCKET, "Key": _KEY.format(number), **more}
        return sdk.generate_presigned_url(operation, Params=parameters, ExpiresIn=900)

    return sign


def _side(sign: Callable[[int], object], count: int) -> Callable[[], float]:
    def measure() -> float:
        began = time.thread_time()
        for number in range(count):
            sign(number)
        return (time.thread_time() - began) / count * 1e6

    return measure
