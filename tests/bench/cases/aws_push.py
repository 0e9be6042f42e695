"""A first push of small records to DynamoDB and S3, by one to a folder on the disk."""

from __future__ import annotations

from tests.bench.case import Bench
from tests.bench.cases.aws_stores import MISSING_GO, MISSING_JAVA, opened_aws, servers
from tests.bench.cases.first_push import first_push
from tests.bench.figures import Result

TITLE = "First push to DynamoDB and S3, by a push to a folder"
_RECORDS = 5_000


def run(bench: Bench) -> Result:
    """Records a second, for information."""
    missing = [each for each in (MISSING_JAVA, MISSING_GO) if each]
    if missing:
        return Result(skipped=missing)
    with servers():
        return Result([first_push(bench, "aws", opened_aws, _RECORDS)])
