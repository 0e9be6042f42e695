"""`wm`: a workspace is pushed to Cosmos DB (the fake of it) and Azurite, lost, and pulled into a
new one."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.e2e.stories import azure_cloud, machines, push_wipe_pull
from tests.servers.marks import needs_azurite

pytestmark = [
    pytest.mark.timeout(600),  # two dozen processes
    pytest.mark.usefixtures("azure_environment"), needs_azurite,
]  # fmt: skip


def test_push_wipe_pull_is_identical(tmp_path: Path) -> None:
    cloud = azure_cloud()
    with machines(tmp_path, cloud, names=("first", "second")) as (first, second):
        push_wipe_pull(first, second, cloud, tmp_path)
