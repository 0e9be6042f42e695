"""Nothing secret is in the repository, and what is installed is locked."""

from __future__ import annotations

import json
import re
import secrets as randomness
from pathlib import Path
from string import ascii_lowercase

import pytest

from services.tokens.machine import MachineSecret
from tests.hygiene.secrets import allowances, findings, scan, tracked, unmet

ROOT = Path(__file__).parents[2]
PYTHON_LOCKS = ("requirements.lock", "requirements-dev.lock", "deploy/docker/sbom.lock")
NPM_LOCKS = (
    "docs/guides/clients/typescript/package-lock.json",
    "protos/clients/package-lock.json",
    "tests/servers/azurite/package-lock.json",
)
KNOWN = re.compile(
    r"changeme|change-me|minioadmin|monster(?:cookie)?\b|postgres:postgres|admin:admin|root:root"
    r"|password123|rootpassword|s3cr3t",
    re.IGNORECASE,
)


def planted() -> dict[str, str]:
    """Kind -> a line with a secret that was drawn a moment ago: nobody's."""
    url = randomness.token_urlsafe
    ids = [letters(26), letters(26)]
    machine = MachineSecret.derive(randomness.token_bytes(32), f"u_{ids[0]}", f"k_{ids[1]}").text
    return {
        "machine token": f"token = '{machine}'",
        "webhook secret": f"key: whsec_{randomness.token_hex(24)}",
        "transfer token": f"?token=v1.0a1b2c3d.{url(40)}.{url(32)}",
        "invitation token": f"accept i_{ids[0]}.{url(32)}",
        "AWS Access Key": f"AKIA{letters(16).upper()}",
        "Private Key": f"-----BEGIN {'RSA PRIVATE'} KEY-----",
        "Basic Auth Credentials": f"https://ann:{url(12)}@db.invalid/",
        "GitHub Token": f"ghp_{randomness.token_hex(18)}",
        "JSON Web Token": f"eyJ{'hbGciOiJIUzI1NiJ9'}.eyJzdWIiOiJhbm4ifQ.{url(32)}",
        "Secret Keyword": f"smtp_password: {url(12)}",
    }


def letters(count: int) -> str:
    return "".join(randomness.choice(ascii_lowercase + "234567") for _ in range(count))


@pytest.mark.timeout(300)
@pytest.mark.case("Y01")
def test_the_repository_has_no_secrets() -> None:
    """The files of the next commit. `secrets_allowed.toml` has what only looks like one."""
    files = tracked()
    assert len(files) > 1500
    assert unmet(scan(files)) == []


@pytest.mark.parametrize("kind", sorted(planted()))
@pytest.mark.case("Y01")
def test_a_planted_secret_is_found_and_not_shown(kind: str) -> None:
    line = planted()[kind]
    found = findings("deploy/new.yaml", f"first: line\n{line}\n")
    assert (2, kind) in [(each.line, each.kind) for each in found]
    shown = " ".join(unmet(found))
    assert "deploy/new.yaml:2" in shown
    assert line.split()[-1] not in shown


@pytest.mark.case("Y01")
def test_an_allowance_is_for_no_more_than_it_says() -> None:
    row = next(each for each in allowances() if each.kind == "Basic Auth Credentials")
    lines = [f"https://ann:{randomness.token_hex(6)}@db.invalid/" for _ in range(row.times + 1)]
    found = findings(row.path, "\n".join(lines))
    assert len([each for each in unmet(found) if each.startswith(row.path)]) == row.times + 1
    assert any(row.path in each and "not" in each for each in unmet([])), "one that is stale"
    assert all(each.reason for each in allowances())


@pytest.mark.parametrize("name", PYTHON_LOCKS)
@pytest.mark.case("Y04")
def test_a_lock_of_python_pins_by_hash_and_names_no_host(name: str) -> None:
    text = (ROOT / name).read_text()
    rows = re.split(r"\n(?=[a-z0-9])", re.sub(r"(?m)^ *#.*\n", "", text).strip())
    assert len(rows) > 10
    for row in rows:
        assert re.match(r"[a-z0-9][a-z0-9._-]*(?:\[[a-z,]+\])?==[^\s;]+[ ;]", row), row
        assert re.search(r"--hash=sha256:[0-9a-f]{64}\b", row), row
    assert "://" not in text
    assert "-index-url" not in text


@pytest.mark.parametrize("name", NPM_LOCKS)
@pytest.mark.case("Y04")
def test_a_lock_of_npm_pins_by_hash_and_names_no_host(name: str) -> None:
    packages = json.loads((ROOT / name).read_text())["packages"]
    installed = {
        path: row for path, row in packages.items()
        if "node_modules/" in path and not row.get("link")
    }  # fmt: skip
    assert installed
    for path, row in installed.items():
        if not row.get("resolved", "").startswith("file:"):
            assert row["integrity"].startswith("sha512-"), path
            assert "://" not in row.get("resolved", ""), path


@pytest.mark.case("Y04")
def test_every_lock_of_the_repository_is_looked_at() -> None:
    locks = {
        path.relative_to(ROOT).as_posix() for path in tracked()
        if path.name.endswith((".lock", "-lock.json"))
    }  # fmt: skip
    assert locks == {*PYTHON_LOCKS, *NPM_LOCKS}


@pytest.mark.case("Y06")
def test_no_manifest_has_a_secret_that_everybody_knows() -> None:
    files = [path for path in tracked() if "deploy" in path.relative_to(ROOT).parts[:1]]
    assert len(files) > 40
    for path in files:
        assert not KNOWN.search(path.read_text("utf-8", "replace")), path
    assert KNOWN.search("password: minioadmin")
