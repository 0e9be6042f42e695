"""What the guides tell people to paste works, in the order of the guides."""

from __future__ import annotations

import re
import signal
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from project_svc.history.webhook_delivery import signature
from tests.e2e.guides import GUIDES, blocks, pasted
from tests.e2e.serving import ANN, BOB, Serving

NEXT = [  # each guide with a project of its own state; moving it comes last
    ("sharing.md", ("sharing", "explain", "invite")),
    ("automation.md", ("automation", "search")),
    ("cli.md", ("looking", "homes")),
]


@pytest.fixture(scope="module")
def serving(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Serving]:
    served = Serving(tmp_path_factory.mktemp("guides"))
    served.start()
    served.wm("login", "--as", BOB)
    served.wm("login", "--as", ANN, "--name", "Ann")
    served.wm("projects", "create", "Plans")
    tree = served.folder / "plans"
    (tree / "notes").mkdir(parents=True)
    (tree / "budget.txt").write_text("budget")
    (tree / "notes/a.txt").write_text("a")
    served.wm("import", tree, "-p", "Plans")
    yield served
    if served.process is not None:
        served.end(signal.SIGKILL)


@pytest.mark.parametrize(("guide", "name"), [(g, n) for g, names in NEXT for n in names])
def test_the_examples_of_the_guides_work_when_pasted(
    serving: Serving, guide: str, name: str
) -> None:
    wm = f'wm() {{ "{sys.executable}" -m services.cli.main "$@"; }}\n'
    found = blocks(guide)
    assert list(found) == list(dict(NEXT)[guide])
    pasted(wm + found[name], serving.folder, serving.env | {"WM_DATA_DIR": str(serving.data)})


def test_the_signature_sample_accepts_our_deliveries_and_no_others() -> None:
    import base64

    text = (GUIDES / "automation.md").read_text(encoding="utf-8")
    sample = re.search(r"<!-- test: signature -->\n```python\n(.*?)```", text, re.DOTALL)
    assert sample is not None
    names: dict[str, Any] = {}
    exec(compile(sample[1], str(Path("automation.md")), "exec"), names)
    key, body, now = b"k" * 32, b'{"a":1}', int(time.time())
    secret = "whsec_" + base64.b64encode(key).decode()
    headers = {
        "webhook-id": "e1",
        "webhook-timestamp": str(now),
        "webhook-signature": signature(key, "e1", now, body),
    }
    assert names["is_genuine"](secret, headers, body)
    assert not names["is_genuine"](secret, headers, body + b" ")
    assert not names["is_genuine"](secret, headers | {"webhook-timestamp": str(now - 600)}, body)
