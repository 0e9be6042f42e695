"""The suite of deployments, on processes of this machine."""

from __future__ import annotations

import pytest

from tests.stack.suite import *  # noqa: F403

pytestmark = pytest.mark.asyncio(loop_scope="module")
