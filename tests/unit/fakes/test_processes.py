"""Processes of the tests: what is left to itself leaves nothing behind."""

from __future__ import annotations

import gc
import time
import warnings
from pathlib import Path

from tests.servers.process import remove_later


def test_a_folder_is_removed_later_without_a_word(tmp_path: Path) -> None:
    """A process that was never waited for says so at the end of every run of tests."""
    folder = tmp_path / "a folder"
    (folder / "below").mkdir(parents=True)
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        remove_later(folder)
        gc.collect()
    assert not said
    while folder.exists():
        time.sleep(0.01)
