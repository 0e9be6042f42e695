"""`wm` and a workspace with TLS of its own authority, as a composed stack has it: the machine
of the user holds ca.crt and, for the local provider, the shared folder of keys."""

from __future__ import annotations

import ipaddress
import json
import shutil
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
from cryptography import x509

from tests.authority import Authority
from tests.e2e.serving import ANN, BOB, Serving, differences, make_tree


class Published(Serving):
    """Serves with TLS; `wm` is run by somebody who has nothing of its data folder."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.authority = Authority(folder, "ca")
        self.own = dict(self.env)
        names = (x509.DNSName("localhost"), x509.IPAddress(ipaddress.ip_address("127.0.0.1")))
        files = folder / "tls.crt", folder / "tls.key"
        self.authority.issue(*files, *names)
        self.env |= {
            "WM_TLS_CERTIFICATE": str(files[0]), "WM_TLS_KEY": str(files[1]),
            "WM_PUBLIC_URL": f"https://localhost:{self.ports[1]}",
        }  # fmt: skip
        self.start()
        self.env = self.own  # of people
        self.served, self.data = self.data, folder / "elsewhere"
        shutil.copytree(self.served / "keys", self.data / "keys")

    @property
    def server(self) -> str:
        return f"localhost:{self.ports[0]}"

    @property
    def ca(self) -> str:
        return str(self.authority.ca_file)

    def login(self, email: str) -> str:
        return self.wm("login", "--server", self.server, "--ca", self.ca, as_=email)


@pytest.fixture(scope="module")
def published(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Published]:
    made = Published(tmp_path_factory.mktemp("published"))
    try:
        yield made
    finally:
        if made.process is not None:
            assert made.end(signal.SIGTERM) == 0


def test_the_authority_is_named_once(published: Published) -> None:
    said = published.login(ANN)
    assert f"Signed in to {published.server}" in said
    assert f"Its authority is in {published.ca}: kept for this server." in said
    assert ANN in published.wm("whoami")  # the last server, with its authority
    kept = json.loads((published.folder / "config" / "credentials.json").read_text())
    assert kept["servers"][published.server]["ca"] == published.ca


def test_files_go_both_ways_through_its_https_urls(published: Published) -> None:
    published.login(ANN)
    published.wm("projects", "create", "Plans")
    file = published.folder / "plan.txt"
    file.write_text("the plan")
    published.wm("put", file, "--project", "Plans")
    assert published.wm("get", "Plans:plan.txt", "-o", "-") == "the plan"
    tree = make_tree(published.folder / "tree")
    (tree / ".hidden" / ".dotfile").unlink()
    published.wm("import", tree, "--project", "Plans", "--into", "tree")
    copy = published.folder / "copy"
    published.wm("export", "Plans", copy)
    assert differences(tree, copy / "tree") in ([], [".hidden"])


def test_who_has_the_shared_keys_signs_in_from_anywhere(published: Published) -> None:
    published.login(BOB)
    published.login(ANN)
    assert BOB in published.wm("whoami", as_=BOB)
    shutil.move(published.data / "keys", published.data / "away")
    try:
        refused = published.wm(
            "login", "--server", published.server, "--ca", published.ca, as_=BOB, code=3
        )
    finally:
        shutil.move(published.data / "away", published.data / "keys")
    assert f"the local secret {published.data / 'keys' / 'local.secret'} is not there" in refused
    assert "WM_TOKEN" in refused


def test_a_token_of_the_environment_needs_no_folder(published: Published) -> None:
    published.login(ANN)
    kept = json.loads((published.folder / "config" / "credentials.json").read_text())
    token = kept["servers"][published.server]["logins"][ANN]["token"]
    bare = Serving(published.folder)
    bare.data = published.folder / "nothing"
    bare.env = published.own | {
        "WM_CONFIG_DIR": str(published.folder / "other"), "WM_TOKEN": token,
        "WM_SERVER": f"https://{published.server}", "WM_CA": published.ca,
    }  # fmt: skip
    assert ANN in bare.wm("whoami")
    del bare.env["WM_CA"]
    assert "name its ca.crt: --ca FILE, or WM_CA" in bare.wm("whoami", code=8)


def test_on_the_machine_of_the_server_its_folder_says_that_it_speaks_tls(
    published: Published,
) -> None:
    published.data, there = published.served, published.data
    try:
        said = published.wm("login", "--ca", published.ca, as_=ANN)
        assert f"Signed in to https://127.0.0.1:{published.ports[0]}" in said
    finally:
        published.data = there
