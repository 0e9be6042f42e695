"""The TypeScript package: it is what the contracts say, retries as they say, and tells the
story. Everything is made and installed in a folder of the test, as a user would have it."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.authority import Authority
from tests.e2e.clients.harness import CLIENTS, PEOPLE, ROOT, STORY, differences, run, told
from tests.server_process import ServerProcess

NODE, NPM = shutil.which("node"), shutil.which("npm")
PACKAGE = ROOT / "protos/gen/ts"
BY_HAND = "README.md", "retry.test.mjs"
TRIES = 3

pytestmark = [
    pytest.mark.skipif(NODE is None or NPM is None, reason="needs Node.js and npm"),
    pytest.mark.timeout(600),
]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tree with the package generated anew, and the program with it installed."""
    root = tmp_path_factory.mktemp("typescript")
    package, program = root / "protos/gen/ts", root / "docs/guides/clients/typescript"
    run([ROOT / "protos/clients/ts.sh", package], ROOT, {}, seconds=500)
    for name in BY_HAND:
        shutil.copy(PACKAGE / name, package)
    unwanted = shutil.ignore_patterns("node_modules", "dist")
    shutil.copytree(CLIENTS / "typescript", program, ignore=unwanted)
    _install(program)
    (root / "node_modules").symlink_to(program / "node_modules")  # for the tests of the package
    return root


@pytest.fixture(scope="module")
def program(made: Path) -> Path:
    """The folder of the program, checked and compiled."""
    folder = made / "docs/guides/clients/typescript"
    run([str(NPM), "run", "--silent", "build"], folder, {})
    return folder


def test_what_is_committed_is_what_the_contracts_say(made: Path) -> None:
    generated = made / "protos/gen/ts"

    assert (generated / "workspace/sync/v1/sync_service_pb.d.ts").exists()
    assert differences(generated, PACKAGE) == []


def test_locks_and_settings_name_no_address() -> None:
    folders = PACKAGE, ROOT / "protos/clients", CLIENTS / "typescript"
    for file in (file for folder in folders for file in folder.glob("*.json")):
        assert "://" not in file.read_text(encoding="utf-8"), file


def test_declarations_and_the_readme_are_good_under_strict(made: Path, program: Path) -> None:
    areas = sorted((made / "protos/gen/ts").glob("*/*/*/index.d.ts"))
    samples = [made / f"sample{number}.mts" for number, _ in enumerate(_samples())]
    for sample, text in zip(samples, _samples(), strict=True):
        sample.write_text(text, encoding="utf-8")

    assert len(areas) >= 5
    assert len(samples) == 2
    compiler = [str(NODE), program / "node_modules/typescript/bin/tsc", "--noEmit", "--strict"]
    settings = ["--module", "nodenext", "--target", "es2022", "--types", "node"]
    libraries = ["--lib", "es2022,esnext.disposable,dom,dom.iterable"]
    run([*compiler, *settings, *libraries, *areas, *samples], made, {})


def test_retry_follows_the_published_policy(made: Path) -> None:
    tests = made / "protos/gen/ts/retry.test.mjs"
    printed = run([str(NODE), "--test", "--test-reporter", "tap", tests], made, {})

    assert "# fail 0" in printed
    assert "# pass 0" not in printed


@pytest.mark.parametrize("tls", [False, True], ids=["plain", "tls"])
async def test_it_tells_the_story(program: Path, tmp_path: Path, tls: bool) -> None:
    async with told(tmp_path, tls=tls) as env:
        assert run([str(NODE), "dist/story.js"], program, env) == STORY


async def test_it_trusts_nobody_but_the_ca_it_was_given(program: Path, tmp_path: Path) -> None:
    async with told(tmp_path, tls=True) as env:
        other = {**env, "WM_CA": str(Authority(tmp_path, "other").ca_file)}
        with pytest.raises(AssertionError, match="certificate"):
            run([str(NODE), "dist/story.js"], program, other)


async def test_messages_read_and_write_what_http_speaks(made: Path, tmp_path: Path) -> None:
    """The way of browsers, which gRPC does not reach, as the README shows it."""
    function = _samples()[1].replace(": string", "")  # all the types there are in it
    program = made / "http.mjs"
    program.write_text(
        f"{function}\nconst {{ WM_HTTP, WM_TOKEN }} = process.env;\n"
        'const made = await createAccount(WM_HTTP, WM_TOKEN, "Bridge Works");\n'
        'console.log(made.name, made.accountId !== "");\n',
        encoding="utf-8",
    )
    async with ServerProcess.start(tmp_path / "data") as server:
        env = {"WM_HTTP": server.http, "WM_TOKEN": await server.sign_in(PEOPLE[0])}
        assert run([str(NODE), program], made, env) == "Bridge Works true\n"


def _samples() -> list[str]:
    """The programs in the README of the package."""
    return re.findall(r"```ts\n(.*?)```", (PACKAGE / "README.md").read_text("utf-8"), re.DOTALL)


def _install(folder: Path) -> None:
    """What the lock says; a registry may not answer at once, so three times."""
    command = [str(NPM), "ci", "--silent", "--ignore-scripts", "--prefer-offline"]
    for attempt in range(1, TRIES + 1):
        done = subprocess.run(
            command, cwd=folder, capture_output=True, text=True, timeout=150, check=False
        )
        if done.returncode == 0:
            return
        assert attempt < TRIES, done.stderr
