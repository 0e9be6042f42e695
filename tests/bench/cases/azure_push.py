"""A first push of small records to Cosmos DB and Blob Storage, by one to a folder on the disk."""

from __future__ import annotations

from tests.bench.case import Bench
from tests.bench.cases.azure_stores import MISSING_NPM, opened_azure, servers
from tests.bench.cases.first_push import first_push
from tests.bench.figures import Result

TITLE = "First push to Cosmos DB (the fake) and Azurite, by a push to a folder"
_RECORDS = 2_000


def run(bench: Bench) -> Result:
    """Records a second, for information."""
    if MISSING_NPM:
        return Result(skipped=[MISSING_NPM])
    with servers():
        return Result([first_push(bench, "azure", opened_azure, _RECORDS)])
