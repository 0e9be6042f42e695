from __future__ import annotations

from pathlib import Path

import pytest

from services.tokens.local import LocalIssuer


@pytest.fixture
def issuer(tmp_path: Path) -> LocalIssuer:
    return LocalIssuer.open(tmp_path, realm="n1")
