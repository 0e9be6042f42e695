"""The parity checklist: no line of the seeds is missing, no check is invented."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest
from workspace.storage.v1.catalog_pb2 import ParityStatus

from services.config import load_settings
from services.model.catalog import CONCERNS, PROVIDERS
from services.model.families import FAMILIES
from services.model.parity import LINES, PROBES, faults_of
from storage_svc.catalog import Catalog
from tests.contract.served import ROOT

SEEDS = (Path(__file__).parent / "parity_checklist.txt").read_text(encoding="utf-8").splitlines()
"""The bullet lines of the seeds' sections Shared Application Contract, Versioning
And Audit Records and Parity Checklist, and the concerns of Provider Mapping."""


def test_the_table_is_the_checklist_of_the_seeds() -> None:
    texts = [line.text for line in LINES if not line.service]
    assert texts == [text for text in SEEDS if text]


def test_every_concern_of_the_provider_mapping_is_a_line() -> None:
    assert [line.service for line in LINES if line.service] == [each.key for each in CONCERNS]


def test_concerns_are_unique_and_every_line_has_a_check() -> None:
    names = [line.concern for line in LINES]
    assert len(set(names)) == len(names)
    assert all(line.checks for line in LINES)


@pytest.mark.parametrize("check", sorted({check for line in LINES for check in line.all_checks}))
def test_each_named_check_exists(check: str) -> None:
    if check.startswith("probe:"):
        assert check in PROBES
        return
    file, _, name = check.partition("::")
    tree = ast.parse((ROOT / file).read_text(encoding="utf-8"))
    found = {
        node.name for node in tree.body if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef))
    }
    assert name in found


def test_every_probe_is_used_and_holds() -> None:
    assert {c for line in LINES for c in line.all_checks if c.startswith("probe:")} == set(PROBES)
    assert [faults_of(line) for line in LINES if faults_of(line)] == []


def test_a_broken_model_is_not_covered(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The control: a probe that finds a fault turns its cells."""
    rows = Catalog(load_settings(data_dir=tmp_path)).parity().rows
    before = {row.concern: row.cells[0].status for row in rows}
    monkeypatch.setattr(
        "services.model.parity.PROBES", {**PROBES, "probe:paths": lambda: "keys are broken"}
    )
    rows = Catalog(load_settings(data_dir=tmp_path)).parity().rows
    after = {row.concern: row.cells[0].status for row in rows}
    changed = {concern for concern in before if before[concern] != after[concern]}
    assert changed == {"artifact_prefix", "project_owned_paths"}


def test_every_cell_of_every_provider_is_covered(tmp_path: Path) -> None:
    for row in Catalog(load_settings(data_dir=tmp_path)).parity().rows:
        assert [cell.provider for cell in row.cells] == ["local", "aws", "azure"]
        found = {cell.status for cell in row.cells}
        about_one = row.concern in ("conditional_update_aws", "conditional_update_azure")
        covered = ParityStatus.PARITY_STATUS_COVERED
        expected = {covered} | ({ParityStatus.PARITY_STATUS_NOT_APPLICABLE} if about_one else set())
        assert found == expected, row.concern


def test_each_cloud_proves_each_of_its_services_itself() -> None:
    clouds = [each.key for each in PROVIDERS if each.key != "local"]
    for line in LINES:
        if line.service:
            assert list(line.own) == clouds
            assert set(line.own["aws"]).isdisjoint(line.own["azure"])
        for provider in line.own:
            assert line.own[provider], line.concern
            assert set(line.checks_of(provider)) > set(line.checks)


def test_the_guides_of_the_clouds_say_the_same_things() -> None:
    """Persistence, identity, storage, notification, and what else the one has."""
    guides = {
        cloud: (ROOT / f"docs/guides/{cloud}.md").read_text(encoding="utf-8")
        for cloud in ("aws", "azure")
    }
    for subject in (
        "## Credentials", "## Make the ", "## Serve", "## Sign-in through ", "## Events",
        "## Mail and secrets", "## Containers: the whole runtime", "## Permissions", "## Costs",
        "## Limits",
        "## Backup and restore", "## As a sync surface", "## Local stand-ins",
    ):  # fmt: skip
        assert [cloud for cloud, text in guides.items() if f"\n{subject}" not in text] == []


def test_the_model_document_has_every_family() -> None:
    text = (ROOT / "docs/data-identity-model.md").read_text(encoding="utf-8")
    for family in FAMILIES.values():
        assert f"`{family.message.DESCRIPTOR.name}`" in text or family.name in text
        for name in family.message.DESCRIPTOR.fields_by_name:
            assert name in text, (family.name, name)
