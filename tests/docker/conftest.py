"""Tests of what is deployed: images, and what is composed of them.

They need a container engine, or root on Debian to make one (the capability `docker`).
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.docker.engine import Engine, NoEngine, engine
from tests.docker.images import Images, build_all

_HERE = Path(__file__).parent
_BUILDING = 1800  # images of a machine that has none yet


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "docker: builds images and runs containers")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if _HERE in item.path.parents:
            item.add_marker(pytest.mark.docker)
            if item.get_closest_marker("timeout") is None:
                item.add_marker(pytest.mark.timeout(_BUILDING))


@pytest.fixture(scope="session")
def docker() -> Iterator[Engine]:
    """A container engine, for as long as the tests run."""
    try:
        with engine() as running:
            yield running
    except NoEngine as missing:
        pytest.skip(str(missing))


@pytest.fixture(scope="session")
def images(docker: Engine) -> Images:
    """All images, built of this checkout."""
    try:
        return build_all(docker)
    except NoEngine as missing:  # no base, or no Go for versitygw
        pytest.skip(str(missing))
