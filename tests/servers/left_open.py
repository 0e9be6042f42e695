"""Connections that nobody closed: the libraries tell of them when they are collected."""

from __future__ import annotations

import gc
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

__all__ = ["nothing_left_open"]


@contextmanager
def nothing_left_open() -> Iterator[None]:
    """Fails where something that is garbage at the end was not closed."""
    gc.collect()  # what others left is not ours
    with warnings.catch_warnings(record=True) as found:
        warnings.simplefilter("always")
        yield
        gc.collect()
    assert [str(each.message) for each in found] == []
