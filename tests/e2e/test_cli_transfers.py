"""`wm transfers` and `wm parity` against a real `wm serve`."""

from __future__ import annotations

import hashlib
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from services.model.parity import LINES
from tests.e2e.serving import ANN, BOB, Serving
from tests.upgrade.client import Person

STORAGE, PROJECTS = "storage.v1.StorageService", "project.v1.ProjectService"
DOCUMENTS = "project.v1.DocumentService"
DATA = b"for nobody else\n" * 20


@pytest.fixture
def serving(tmp_path: Path) -> Iterator[Serving]:
    served = Serving(tmp_path)
    served.start()
    yield served
    if served.process is not None:
        served.end(signal.SIGKILL)


def test_owners_revoke_the_urls_of_their_project_and_nobody_all(serving: Serving) -> None:
    serving.wm("login", "--as", ANN, "--name", "Ann")
    serving.wm("projects", "create", "Plans")
    answer = serving.json("transfers", "revoke", "Plans", "--note", "laptop lost")
    (result,) = answer["results"]
    assert (result["storage_provider"], result["method"]) == (
        "local", "REVOCATION_METHOD_DATA_PLANE",
    )  # fmt: skip
    assert "our data plane refuses them" in serving.wm("transfers", "revoke", "Plans")
    serving.wm("transfers", "revoke", code=4)


@pytest.mark.case("U25", "R15")
def test_the_drill_of_the_operations_guide(serving: Serving) -> None:
    """docs/operations/revoking.md, step by step: everybody's URLs end, nobody's data."""
    secret = (serving.data / "keys" / "local.secret").read_text().strip()
    bob = Person(f"127.0.0.1:{serving.ports[0]}", BOB, secret=secret)
    project_id = bob(f"{PROJECTS}.CreateProject", name="Bob's")["project"]["project_id"]
    made = bob(f"{DOCUMENTS}.CreateDocument", project_id=project_id, name="plan.txt")
    of = {"document_id": made["document"]["document_id"]}
    bob.upload(DATA, **of)
    urls = [bob(f"{STORAGE}.CreateDownload", **of)["transfer"]["url"] for _ in range(3)]
    assert [httpx.get(url).content for url in urls] == [DATA] * 3

    serving.wm("login", "--as", ANN)
    serving.wm("users", "bootstrap-admin", as_=ANN)
    said = serving.json("transfers", "revoke", "--note", "drill", as_=ANN)
    since = last_yes = time.monotonic()
    (result,) = said["results"]
    assert result["method"] == "REVOCATION_METHOD_KEY_REVOKED"
    while True:
        began = time.monotonic()
        if 200 not in _asked(urls):
            break
        last_yes = began
        assert began - since < 60
    assert last_yes - since <= 5
    assert _asked(urls) == [403] * 3
    serving.end()
    serving.start()
    assert _asked(urls) == [403] * 3
    assert bob.download(**of) == hashlib.sha256(DATA).hexdigest()
    bob.close()


def _asked(urls: list[str]) -> list[int]:
    return [httpx.get(url).status_code for url in urls]


def test_parity_is_printed_for_all_providers(serving: Serving) -> None:
    shown = serving.json("parity", "--no-run")
    assert shown["tests_passed"] is None
    assert [line["concern"] for line in shown["lines"]] == [line.concern for line in LINES]
    states = {line["concern"]: line["providers"] for line in shown["lines"]}
    assert states["files"] == {"local": "covered", "aws": "covered", "azure": "covered"}
    assert states["conditional_update_aws"]["azure"] == "-"
    assert "tests not run" in serving.wm("parity", "--no-run")
