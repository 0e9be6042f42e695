"""Storage keys."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.model.errors import Reason, WorkspaceError
from services.model.names import MAX_FILENAME_BYTES, safe_filename
from services.model.paths import (
    Home,
    StorageKey,
    belongs_to,
    derived_key,
    document_prefix,
    home_of,
    parse_storage_key,
    prefix_of,
    raw_key,
    revision_filename,
)

ACCOUNT = Home("accounts", "a_1")
WORKSPACE = Home("workspaces", "a_2")
IDS = st.from_regex(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}", fullmatch=True)
HOMES = st.builds(Home, st.sampled_from(["accounts", "workspaces"]), IDS)


def test_the_three_shapes_of_the_seeds() -> None:
    assert raw_key(ACCOUNT, "p_1", "d_1", "r.pdf") == (
        "accounts/a_1/projects/p_1/documents/d_1/raw/r.pdf"
    )
    assert raw_key(WORKSPACE, "p_1", "d_1", "r.pdf") == (
        "workspaces/a_2/projects/p_1/documents/d_1/raw/r.pdf"
    )
    assert derived_key(ACCOUNT, "p_1", "d_1", "r_1", "chunks.json") == (
        "accounts/a_1/projects/p_1/documents/d_1/derived/r_1/chunks.json"
    )


@given(HOMES, IDS, IDS, st.one_of(st.just(""), IDS), st.text(max_size=250))
def test_parse_is_the_reverse_of_format(
    home: Home, project: str, document: str, artifact: str, name: str
) -> None:
    key = StorageKey(home, project, document, safe_filename(name), artifact)
    assert parse_storage_key(str(key)) == key
    assert len(str(key).encode()) <= 1024
    assert belongs_to(str(key), home=home, project_id=project, document_id=document)
    assert str(key).startswith(prefix_of(home, project))
    assert str(key).startswith(document_prefix(home, project, document))
    assert key.rehomed(ACCOUNT).rehomed(home) == key


GOOD = "accounts/a/projects/p/documents/d/raw/f.txt"


@pytest.mark.case("K01", "K04", "K22")
@pytest.mark.parametrize(
    "key",
    [
        "", "/", "x", f"/{GOOD}", f"{GOOD}/", f"{GOOD}/more", GOOD.replace("/raw/", "//raw/"),
        GOOD.replace("accounts", "Accounts"), GOOD.replace("accounts", "tenants"),
        GOOD.replace("projects", "project"), GOOD.replace("documents", "docs"),
        GOOD.replace("raw", "RAW"), GOOD.replace("/a/", "/../"), GOOD.replace("/p/", "/./"),
        GOOD.replace("/d/", "/ /"), GOOD.replace("/d/", "/d%2e/"), GOOD.replace("f.txt", ""),
        GOOD.replace("f.txt", ".."), GOOD.replace("f.txt", ".hidden"), GOOD.replace("f.txt", "nul"),
        GOOD.replace("f.txt", "a\\b"), GOOD.replace("f.txt", "cafe\u0301"),
        GOOD.replace("f.txt", "f.txt?versionId=1"), GOOD.replace("f.txt", "x" * 201),
        GOOD.replace("/raw/", "/derived/"), GOOD.replace("raw/f.txt", "derived//f.txt"),
        GOOD.replace("raw/f.txt", "derived/../f.txt"), GOOD.replace("/", "\\"),
    ],
)  # fmt: skip
def test_other_keys_are_refused(key: str) -> None:
    with pytest.raises(WorkspaceError) as caught:
        parse_storage_key(key)
    assert caught.value.reason == Reason.ERROR_REASON_INVALID_FIELD


@pytest.mark.parametrize(
    "name",
    ["\ufe0fa.txt", "a \ufe0f.png", "x\u2764\ufe0f\ufe0f.txt", "a\ufff0.txt", "b\U000e0080"],
    ids=ascii,
)
def test_keys_of_earlier_releases_stay_keys(name: str) -> None:
    key = f"accounts/a/projects/p/documents/d/raw/{name}"
    assert str(parse_storage_key(key)) == key
    assert safe_filename(name) != name, "no new one is made like that"


@pytest.mark.parametrize(
    "name", ["a\U000e0041", "\u200b\ufe0f", ".\ufe0f", "\ufe0f" * 67], ids=ascii
)
def test_what_no_release_made_is_no_key(name: str) -> None:
    with pytest.raises(WorkspaceError):
        parse_storage_key(f"accounts/a/projects/p/documents/d/raw/{name}")


@pytest.mark.case("K23")
def test_a_prefix_ends_at_an_id() -> None:
    assert not raw_key(ACCOUNT, "ab", "d", "f").startswith(prefix_of(ACCOUNT, "a"))
    other = raw_key(Home("accounts", "a_12"), "p_1", "d_1", "f")
    assert not other.startswith(prefix_of(ACCOUNT, "p_1"))


@pytest.mark.case("K22", "K23")
@pytest.mark.parametrize(
    ("home", "project", "document"),
    [
        (WORKSPACE, "p", "d"),
        (Home("workspaces", "a_1"), "p", "d"),
        (ACCOUNT, "q", "d"),
        (ACCOUNT, "p", "e"),
    ],
)
def test_belongs_to_compares_every_part(home: Home, project: str, document: str) -> None:
    key = raw_key(ACCOUNT, "p", "d", "f")
    assert belongs_to(key, home=ACCOUNT, project_id="p", document_id="d")
    assert not belongs_to(key, home=home, project_id=project, document_id=document)


def test_home_of_a_project() -> None:
    assert home_of(account_id="a_1", workspace_id="") == ACCOUNT
    assert home_of(account_id="", workspace_id="a_2") == WORKSPACE
    for account, workspace in (("", ""), ("a", "w")):
        with pytest.raises(WorkspaceError):
            home_of(account_id=account, workspace_id=workspace)


@pytest.mark.case("K22")
@pytest.mark.parametrize("bad", ["", "a/b", "..", "a b"])
def test_builders_refuse_bad_ids(bad: str) -> None:
    for build in (
        lambda: Home("accounts", bad),
        lambda: raw_key(ACCOUNT, bad, "d", "f"),
        lambda: raw_key(ACCOUNT, "p", bad, "f"),
        lambda: derived_key(ACCOUNT, "p", "d", bad, "f"),
        lambda: prefix_of(ACCOUNT, bad),
        lambda: document_prefix(ACCOUNT, "p", bad),
        lambda: revision_filename("f", 2, bad),
    ):
        with pytest.raises(WorkspaceError):
            build()


@pytest.mark.parametrize(
    ("name", "revision", "expected"),
    [
        ("report.pdf", 2, "report.r2-stuvwxyz.pdf"),
        ("README", 3, "README.r3-stuvwxyz"),
        ("a.tar.gz", 12, "a.tar.r12-stuvwxyz.gz"),
        (".env", 2, "_.r2-stuvwxyz.env"),
        ("nul.txt", 2, "_nul.r2-stuvwxyz.txt"),
        ("x" * 300 + ".pdf", 2, "x" * 184 + ".r2-stuvwxyz.pdf"),
    ],
)
def test_revision_names(name: str, revision: int, expected: str) -> None:
    assert revision_filename(name, revision, "x_abcdefghijklmnopqrstuvwxyz") == expected


@given(st.text(max_size=250), st.integers(1, 10**9), IDS)
def test_revision_names_are_safe(name: str, revision: int, upload_id: str) -> None:
    result = revision_filename(name, revision, upload_id)
    assert safe_filename(result) == result
    assert len(result.encode()) <= MAX_FILENAME_BYTES
    assert f".r{revision}-" in result


def test_revision_counts_from_one() -> None:
    with pytest.raises(WorkspaceError):
        revision_filename("f", 0, "x_1")
