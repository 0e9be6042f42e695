"""Which tests need a server that cannot be made on every machine, by capability."""

from __future__ import annotations

import pytest

from tests.servers import tools

__all__ = ["needs_azurite", "needs_s3", "needs_servers"]

needs_s3 = pytest.mark.skipif(
    not tools.HAS_GO, reason="capability: an S3 server (versitygw needs Go)"
)
needs_servers = pytest.mark.skipif(
    not (tools.HAS_GO and tools.HAS_JAVA),
    reason="capability: DynamoDB Local (needs Java and Maven) and an S3 server (needs Go)",
)
needs_azurite = pytest.mark.skipif(not tools.HAS_NPM, reason="capability: Azurite (needs npm)")
