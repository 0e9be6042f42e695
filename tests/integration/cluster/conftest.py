"""Deployments of several processes; they need an S3 server, which is built with Go."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator

import pytest
import pytest_asyncio

from tests.cluster import Cluster
from tests.cluster_stores import Stores
from tests.servers.marks import needs_s3


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if "integration/cluster" in str(item.path):
            item.add_marker(needs_s3)


@pytest.fixture(scope="module")
def stores() -> Iterator[Stores]:
    """A database and an object store for the tests of a module, which may end and change them."""
    opened = Stores()
    yield opened
    opened.close()


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def deployment(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Cluster]:
    """One of each target, for the tests of a module."""
    async with Cluster.open(tmp_path_factory.mktemp("cluster")) as cluster:
        yield cluster
