"""What deploy/kubernetes/README.md and the notes of a release tell people to do."""

from __future__ import annotations

import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from cryptography import x509

from services.processes.targets import CALLS
from services.secrets.key_files import KEY_FILES
from tests.deploy.chart import CASES, CHART, OLDEST, environment, helm, needs_helm, of_kind, render

pytestmark = needs_helm
_ROOT = Path(__file__).parents[2]
_GUIDE = (CHART.parent / "README.md").read_text(encoding="utf-8")
_BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_LINK = re.compile(r"\]\(([^)#:]+)\)")


def _blocks(language: str) -> list[str]:
    return [text for name, text in _BLOCK.findall(_GUIDE) if name == language]


def _command(start: str) -> list[str]:
    """The words of the one command of the guide that begins so."""
    lines = "\n".join(_blocks("sh")).replace("\\\n", " ").splitlines()
    found = [line for line in lines if line.startswith(start)]
    assert len(found) == 1
    return shlex.split(found[0].replace("$N", "wm-workspace").replace("$S", _NAMES))


_NAMES = "workspace.svc.cluster.local"


def test_the_values_of_the_guide_are_good(tmp_path: Path) -> None:
    values = tmp_path / "values.yaml"
    text = _blocks("yaml")[0].replace("REGISTRY", "registry.example")
    values.write_text(text, encoding="utf-8")
    told = helm(
        "template", "wm", str(CHART), "-n", "workspace", "-f", str(values), "--kube-version", OLDEST
    )
    objects = tuple(each for each in yaml.safe_load_all(told) if each)
    assert len(of_kind(objects, "Deployment")) == 6


def test_the_guide_installs_in_five_commands() -> None:
    assert len(_blocks("sh")[0].strip().splitlines()) == 5


def _wm(folder: Path, *arguments: str) -> None:
    program = f"import sys; sys.path.insert(0, {str(_ROOT)!r}); "
    program += "from services.cli.main import main; main()"
    command = [sys.executable, "-c", program, *arguments]
    subprocess.run(command, cwd=folder, check=True, capture_output=True)


def test_key_files_are_made_as_the_guide_says(tmp_path: Path) -> None:
    _wm(tmp_path, *_command("wm keys new")[1:])
    assert {path.name for path in (tmp_path / "keys").iterdir()} == set(KEY_FILES)


def test_certificates_made_as_the_guide_says_have_the_names_of_peers(tmp_path: Path) -> None:
    _wm(tmp_path, *_command("wm certs")[1:])
    objects = render("secrets-values.yaml")
    for target in ("gateway", "sync"):
        for name, value in environment(objects, target).items():
            if value.startswith("dns:///"):
                peer = name.removeprefix("WM_PEER_").lower()
                host = value.removeprefix("dns:///").rpartition(":")[0]
                names = _dns_names(tmp_path / "certs" / peer / "tls.crt")
                assert host.replace(".prod.", ".workspace.") in names
    assert "workspace.example.com" in _dns_names(tmp_path / "certs" / "gateway" / "tls.crt")


def test_the_table_of_calls_is_that_of_the_code() -> None:
    for caller, called in CALLS.items():
        row = re.search(rf"^\| {caller} \| (.*) \|$", _GUIDE, re.MULTILINE)
        assert row is not None
        assert set(row[1].split(", ")) == ({str(each) for each in called} or {"no target"})


def test_links_of_the_guide_lead_somewhere() -> None:
    links = [link for link in _LINK.findall(_GUIDE) if not link.startswith("http")]
    assert len(links) > 3
    assert [link for link in links if not (CHART.parent / link).exists()] == []


@pytest.mark.parametrize("case", CASES)
def test_notes_name_the_next_three_commands(case: str, tmp_path: Path) -> None:
    """Helm shows notes only to a cluster; here they are rendered as a template."""
    copy = tmp_path / "workspace"
    shutil.copytree(CHART, copy)
    notes = (copy / "templates" / "NOTES.txt").read_text(encoding="utf-8")
    (copy / "templates" / "told.yaml").write_text(
        '{{ define "told" }}' + notes + '{{ end }}told: {{ include "told" . | toJson }}\n',
        encoding="utf-8",
    )
    told = helm(
        "template", "wm", str(copy), "-n", "prod", "--kube-version", OLDEST,
        "-f", str(CHART / "ci" / case), "-s", "templates/told.yaml",
    )  # fmt: skip
    text = yaml.safe_load(told)["told"]
    commands = [line.split()[0] for line in text.splitlines() if line.startswith("   ")]
    assert [word for word in commands if word in ("kubectl", "helm")] == [
        "kubectl",
        "helm",
        "kubectl",
    ]
    assert "https://workspace.example.com" in text
    assert "WARNING" not in text
    assert text.isascii()


def _dns_names(path: Path) -> list[str]:
    certificate = x509.load_pem_x509_certificate(path.read_bytes())
    found = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName)
    return found.value.get_values_for_type(x509.DNSName)
