"""What uploaders may leave behind goes by itself: the URL of a part may make the staged blob
of another kind, and snapshots of it, also when no record names the upload any more."""

from __future__ import annotations

from typing import Any

import pytest

from services.azure.setup.desired import Baseline, lifecycle
from services.objects.azure_blob.staging import staged_name

WANTED = Baseline("eastus", "g", "acc", "files", "cos", "db", "items")
STAGED = f"files/{staged_name('home/file', '0' * 32)}"


def removing(part: str, kind: str, name: str) -> list[dict[str, Any]]:
    """Rules that remove that part (`baseBlob`, `snapshot`, `version`) of such a blob."""
    rules = [each["definition"] for each in lifecycle(WANTED).body["properties"]["policy"]["rules"]]
    return [
        rule
        for rule in rules
        if part in rule["actions"]
        and kind in rule["filters"]["blobTypes"]
        and name.startswith(tuple(rule["filters"]["prefixMatch"]))
    ]


@pytest.mark.parametrize("kind", ["blockBlob", "appendBlob"])
@pytest.mark.parametrize("part", ["baseBlob", "snapshot", "version"])
def test_nothing_that_is_staged_stays(part: str, kind: str) -> None:
    assert removing(part, kind, STAGED)


@pytest.mark.parametrize("name", ["files/home/file", "files/.wm/seal-key"])
def test_files_and_the_key_of_the_seals_stay(name: str) -> None:
    for kind in ("blockBlob", "appendBlob"):
        assert not removing("baseBlob", kind, name)
        assert not removing("snapshot", kind, name)
        assert removing("version", kind, name)
