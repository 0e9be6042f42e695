"""Who runs the workspace finds in its log what callers are not told."""

from __future__ import annotations

import logging

import pytest

from services.objects.port import StoreUnavailable
from services.objects.s3.errors import failed, port_error


@pytest.mark.parametrize(("status", "said"), [(403, True), (503, False)])
def test_what_repeating_does_not_mend_is_logged(
    caplog: pytest.LogCaptureFixture, status: int, said: bool
) -> None:
    with caplog.at_level(logging.WARNING, logger="workspace.objects.s3"):
        error = port_error(failed("HeadObject", status, {}, b""))
    assert isinstance(error, StoreUnavailable)
    assert ("s3:GetObject" in caplog.text) is said
