"""The Java client: generated from the contract as it is built, tested, and the story told
with it."""

from __future__ import annotations

import hashlib
import platform
import shutil
import subprocess
import tomllib
from pathlib import Path
from xml.etree import ElementTree

import pytest

from tests.e2e.clients.harness import CLIENTS, ROOT, STORY, run, told
from tests.servers.tools import HAS_JAVA, alone

_ARTIFACT, _EXAMPLE = ROOT / "protos/gen/java", CLIENTS / "java"
_BUILT = ROOT / ".tools/clients-java-story"
_NAMES = {_ARTIFACT: "client", _EXAMPLE: "story"}
_PROTOS = ROOT / "protos"
_CONTRACT = (_PROTOS / "workspace", _PROTOS / "third_party")
_COMMITTED = (
    "generated.sha256",
    "src/main/resources/example/workspace/client/service_config.json",
)
_SECONDS = 800
_POM = "{http://maven.apache.org/POM/4.0.0}"

_needs_java = pytest.mark.skipif(
    not HAS_JAVA or (platform.system(), platform.machine()) != ("Linux", "x86_64"),
    reason="capability: Java, Maven and the protoc of Maven Central for Linux x86_64",
)


@pytest.fixture(scope="module")
def story() -> Path:
    """The jar of the story, made once for each state of the sources by one process: the
    artifact is compiled, tested and put into a Maven repository of the tests alone."""
    with alone(_BUILT):
        state, stamp = _state(), _BUILT / ".state"
        if not stamp.exists() or stamp.read_text() != state:
            stamp.unlink(missing_ok=True)
            for source, goal in ((_ARTIFACT, "install"), (_EXAMPLE, "package")):
                folder = _BUILT / _NAMES[source]
                shutil.rmtree(folder, ignore_errors=True)
                shutil.copytree(source, folder, ignore=shutil.ignore_patterns("target"))
                _maven(folder, goal)
            stamp.write_text(state)
    return _BUILT / _NAMES[_EXAMPLE] / "target/story.jar"


@_needs_java
@pytest.mark.timeout(900)
def test_generated_again_it_is_what_was_reviewed(tmp_path: Path) -> None:
    run(["bash", _PROTOS / "clients/java.sh", tmp_path], tmp_path, {}, seconds=_SECONDS)
    for name in _COMMITTED:
        assert (tmp_path / name).read_bytes() == (_ARTIFACT / name).read_bytes(), name


@_needs_java
@pytest.mark.timeout(900)
def test_the_artifact_was_built_of_what_was_reviewed(story: Path) -> None:
    generated = _BUILT / _NAMES[_ARTIFACT] / "target/generated-sources/protobuf"
    files = [file for file in generated.rglob("*") if file.is_file()]
    built = {file.relative_to(generated).as_posix(): _sha256(file) for file in files}
    reviewed = (line.split("  ") for line in _lines(_ARTIFACT / "generated.sha256"))
    assert built == {name: digest for digest, name in reviewed}


@_needs_java
@pytest.mark.timeout(900)  # the first build compiles a thousand files
def test_the_tests_of_the_artifact_ran(story: Path) -> None:
    reports = list((_BUILT / _NAMES[_ARTIFACT]).glob("target/surefire-reports/TEST-*.xml"))
    suites = [ElementTree.parse(report).getroot() for report in reports]
    assert sum(int(suite.get("tests", "0")) for suite in suites) > 0
    assert not [suite for suite in suites if int(suite.get("skipped", "0"))]


@_needs_java
@pytest.mark.timeout(900)
@pytest.mark.parametrize("tls", [False, True], ids=["plain", "tls"])
async def test_java_tells_the_story(story: Path, tmp_path: Path, tls: bool) -> None:
    async with told(tmp_path, tls=tls) as env:
        assert run(["java", "-jar", story], tmp_path, env) == STORY


@_needs_java
@pytest.mark.timeout(900)
async def test_a_server_of_another_authority_is_refused(story: Path, tmp_path: Path) -> None:
    (tmp_path / "other").mkdir()
    async with told(tmp_path, tls=True) as env, told(tmp_path / "other", tls=True) as other:
        with pytest.raises(AssertionError, match="UNAVAILABLE"):
            run(["java", "-jar", story], tmp_path, env | {"WM_CA": other["WM_CA"]})


def test_the_artifact_has_the_version_of_the_project() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    artifact = ElementTree.parse(_ARTIFACT / "pom.xml").getroot()
    assert artifact.findtext(f"{_POM}version") == project["version"]
    wanted = ElementTree.parse(_EXAMPLE / "pom.xml").getroot().find(f".//{_POM}dependency")
    assert wanted is not None
    assert wanted.findtext(f"{_POM}artifactId") == "workspace-client"
    assert wanted.findtext(f"{_POM}version") == project["version"]


def _maven(folder: Path, goal: str) -> None:
    """Run it on what is here already, else with the registry, which may not answer at once."""
    done = None
    for offline in (["-o"], [], []):
        repository = f"-Dmaven.repo.local={_BUILT / 'repository'}"
        done = subprocess.run(
            [
                "mvn", "-q", "-B", "-Dstyle.color=never", *offline, repository,
                f"-Dprotos={_PROTOS}", goal,
            ],
            cwd=folder, capture_output=True, text=True, timeout=_SECONDS, check=False,
        )  # fmt: skip
        if done.returncode == 0:
            return
    raise AssertionError(done and done.stdout[-4000:])


def _state() -> str:
    """A digest of everything that is built."""
    digest = hashlib.sha256()
    for folder in (_ARTIFACT, _EXAMPLE, *_CONTRACT):
        for file in sorted(folder.rglob("*")):
            if file.is_file() and "target" not in file.relative_to(folder).parts:
                digest.update(str(file.relative_to(ROOT)).encode() + b"\0")
                digest.update(_sha256(file).encode())
    return digest.hexdigest()


def _sha256(file: Path) -> str:
    return hashlib.sha256(file.read_bytes()).hexdigest()


def _lines(file: Path) -> list[str]:
    return file.read_text(encoding="utf-8").splitlines()
