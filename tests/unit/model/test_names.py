"""Names from outside: reliability 2.5, K01-K19."""

from __future__ import annotations

import sys
import unicodedata

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from services.model.errors import Reason, WorkspaceError
from services.model.names import (
    is_device_name,
    safe_filename,
    shorten,
    split_extension,
    validate_document_name,
    validate_id,
    validate_name,
    validate_relative_path,
)

ANY_TEXT = st.text(st.characters(codec=None), max_size=300)
HIDDEN = [
    *(chr(c) for c in (*range(0x20), *range(0x7F, 0xA0))),  # K08
    *"\ud800\udfff\ufffe\uffff\ue000\U0010ffff\ufdd0",  # K09
    *(chr(c) for c in (*range(0x202A, 0x202F), *range(0x2066, 0x206A))),  # K10
    *"\u200e\u200f\u061c\u200b\u200c\u200d\u2060\ufeff\u00ad\u2028\u2029\U000e0041\u3164\u115f",
]
LOOK_ALIKES = [chr(c) for c in range(0x80, sys.maxunicode + 1)
               if not 0xD800 <= c < 0xE000
               and any(m in unicodedata.normalize("NFKC", chr(c)) for m in "./\\:")]  # fmt: skip


def refused(check: object, value: str) -> str:
    """The remedy of the refusal; fails if the value is accepted."""
    with pytest.raises(WorkspaceError) as caught:
        check("the_field", value)  # type: ignore[operator]
    assert caught.value.reason == Reason.ERROR_REASON_INVALID_FIELD
    assert caught.value.metadata == {"field": "the_field"}
    return caught.value.violations[0].description


LINUX_TREE = [
    "__init__.py", "METADATA", "a+b.txt", ".gitignore", ".tmp", ".uploads", ".metadata", "..a",
    "a..b", "...x", "Makefile", "~backup", "file~", "#autosave#", "100% sure.txt", "a%2Fb.txt",
    "x;y", "a&b", "it's", "[id].tsx", "{slug}", "$RECYCLE", "@scope", "naïve.txt", "日本語.pdf",
    "Screenshot\u202fPM.png", "❤\ufe0f.txt", "😀.txt", "-rf", "=cmd", "x" * 200, "a b.txt",
]  # fmt: skip
NEVER_A_SEGMENT = [
    "", ".", "..", "x.", "x ", " x", "\u00a0x", "x\u3000", "~", "a\\b", "C:x", "C:\\x",
    "\\\\server",
    *(f"a{c}b" for c in '<>:"|?*'), "%2e%2e", "%2E.", ".%2e", "%252e%252e", "%25252e%2e", "..%2f",
    "%2e%2e%2fetc", "a%5c..%5cb", "%c0%ae%c0%ae", "%u002e%u002e", "%e0%80%ae%2e", "x" * 256,
    *(f"a{c}b" for c in HIDDEN), *(f"a{c}b" for c in LOOK_ALIKES),
]  # fmt: skip


def test_the_look_alikes_are_those_of_the_reference() -> None:
    assert {"\u2024", "\u2025", "\ufe30", "\u2026", "\uff0e", "\uff0f", "\uff3c"} < set(LOOK_ALIKES)
    assert {"\ufe68", "\u2100"} < set(LOOK_ALIKES)


@pytest.mark.case("K19")
@pytest.mark.parametrize("name", LINUX_TREE)
def test_names_of_a_linux_tree_come_back_as_they_were(name: str) -> None:
    assert validate_document_name("name", name) == name
    assert validate_relative_path("relative_path", f"src/{name}/deep") == f"src/{name}/deep"


@pytest.mark.case("K01", "K03", "K06", "K07", "K08", "K09", "K10", "K11", "K15", "K17", "K18")
@pytest.mark.parametrize("name", NEVER_A_SEGMENT, ids=ascii)
def test_refused_as_document_name_and_as_folder(name: str) -> None:
    refused(validate_document_name, name)
    if name:
        refused(validate_relative_path, name)
    refused(validate_relative_path, f"a/{name}/b")


@pytest.mark.case("K01", "K05", "K06")
@pytest.mark.parametrize(
    "path", ["/a", "a/", "a//b", "/", "../x", "a/../b", "a/..", "a/./b", "/dev/null", "\\\\?\\x"]
)
def test_refused_paths(path: str) -> None:
    refused(validate_relative_path, path)
    refused(validate_document_name, path)


def test_the_root_is_the_empty_path() -> None:
    assert validate_relative_path("relative_path", "") == ""


@pytest.mark.case("K08", "K09", "K10")
@pytest.mark.parametrize("char", HIDDEN, ids=ascii)
def test_hidden_characters_in_labels(char: str) -> None:
    assert f"U+{ord(char):04X}" in refused(validate_name, f"a{char}b")


def test_labels_are_any_printable_text() -> None:
    for name in ("Q3: plan / draft?", "R&D", "Müller & Söhne", "…", "❤\ufe0f Team", "日本", "a\\b"):
        assert validate_name("name", name) == name
    for name in ("", " ", " a", "a ", "\u00a0a", "x" * 201):
        refused(validate_name, name)
    assert validate_name("name", "é" * 200) == "é" * 200
    assert validate_name("title", "x" * 500, max_chars=500) == "x" * 500
    refused(lambda f, v: validate_name(f, v, max_chars=3), "abcd")


def test_what_it_was_before_may_stay() -> None:
    once = "x\u2764\ufe0f\ufe0f"
    assert validate_name("name", once, before=once) == once
    refused(lambda f, v: validate_name(f, v, before=once), once + "y")
    refused(lambda f, v: validate_name(f, v, before=v), "")


@pytest.mark.case("K12", "K13", "K14")
def test_composed_and_decomposed_are_one_name() -> None:
    for check in (validate_name, validate_document_name, validate_relative_path):
        assert check("name", "cafe\u0301") == "café"
        assert check("name", "Straße") != check("name", "STRASSE")
        assert check("name", "Foo") != check("name", "foo")


@pytest.mark.case("K18")
def test_lengths_at_the_boundary() -> None:
    assert validate_document_name("name", "é" * 127)
    refused(validate_document_name, "é" * 128)
    refused(validate_document_name, "x" * 201)
    path = "/".join(["x" * 204] * 4 + ["x" * 204])
    assert len(path) == 1024
    assert validate_relative_path("relative_path", path) == path
    refused(validate_relative_path, path + "x")
    assert validate_relative_path("relative_path", "/".join("a" * 254))
    refused(validate_relative_path, "/".join("a" * 255))


DEVICES = ["CON", "prn", "Aux", "nul", "COM1", "com9", "lpt1", "LPT9", "com¹", "lpt³", "CONIN$",
           "conout$", "nul.txt", "NUL.tar.gz", "con .txt"]  # fmt: skip


@pytest.mark.case("K16")
@pytest.mark.parametrize("name", DEVICES)
def test_device_names(name: str) -> None:
    assert is_device_name(name)
    assert validate_document_name("name", name) == name
    refused(validate_relative_path, f"a/{name}")
    assert safe_filename(name) == f"_{name}"


@pytest.mark.parametrize(
    "name", ["console", "comx", "com10", "null", "auxiliary.c", "lpt", "x.con"]
)
def test_not_device_names(name: str) -> None:
    assert not is_device_name(name)
    assert safe_filename(name) == name


@pytest.mark.parametrize(
    ("name", "safe"),
    [
        ("report.pdf", "report.pdf"),
        ("a+b (1).txt", "a+b (1).txt"),
        ("../../etc/passwd", "_.._.._etc_passwd"),
        ("C:\\Users\\x.doc", "C__Users_x.doc"),
        ("", "_"),
        (".", "_"),
        ("..", "_"),
        (" . ", "_"),
        (".gitignore", "_.gitignore"),
        ("~", "_~"),
        ("x. ", "x"),
        ("a\u202efdp.exe", "a_fdp.exe"),
        ("a\x00b", "a_b"),
        ("cafe\u0301.txt", "café.txt"),
        ("100%.txt", "100_.txt"),
        ("a\u037eb", "a_b"),  # NFC makes it a semicolon
        ("a\ufe52b", "a_b"),
        ("x" * 300 + ".pdf", "x" * 196 + ".pdf"),
        ("é" * 150 + ".tar.gz", "é" * 98 + ".gz"),
        ("a." + "y" * 300, "a." + "y" * 198),
    ],
)
def test_safe_filename_examples(name: str, safe: str) -> None:
    assert safe_filename(name) == safe


@pytest.mark.case("K16", "K19")
@settings(max_examples=600, deadline=None)
@given(ANY_TEXT)
@example("~")
@example("\u0301")
@example("a" * 196 + ".b" + "\u0301" * 5)
@example("." * 250)
@example("_" + "." * 250 + "x")
@example("con" + " " * 250 + ".txt")
@example("a" * 199 + "\u1100\u1161")
@example("\ud800.txt")
def test_safe_filename_is_total_safe_and_idempotent(name: str) -> None:
    safe = safe_filename(name)
    assert safe_filename(safe) == safe
    assert validate_document_name("filename", safe) == safe
    assert unicodedata.is_normalized("NFC", safe)
    assert 1 <= len(safe.encode()) <= 200
    assert not is_device_name(safe)
    assert not safe.startswith(".")
    assert not set(safe) & set('<>:"|?*\\/%#;')
    assert not any(unicodedata.category(c) in ("Cc", "Cf", "Cs", "Co") for c in safe)


@given(st.text("abcé.", max_size=300), st.text("xyz0", min_size=1, max_size=10))
def test_safe_filename_keeps_the_extension(stem: str, extension: str) -> None:
    assert safe_filename(f"a{stem}.{extension}").endswith(f".{extension}")


@settings(max_examples=300)
@given(ANY_TEXT)
def test_what_is_accepted_is_stable(value: str) -> None:
    for check in (validate_name, validate_document_name, validate_relative_path):
        try:
            accepted = check("f", value)
        except WorkspaceError:
            continue
        assert check("f", accepted) == accepted
        accepted.encode("utf-8")


@pytest.mark.parametrize(
    ("name", "parts"),
    [
        ("a.b", ("a", ".b")),
        ("a.tar.gz", ("a.tar", ".gz")),
        ("a", ("a", "")),
        (".a", (".a", "")),
        ("a.", ("a.", "")),
        ("a." + "x" * 31, ("a", "." + "x" * 31)),
        ("a." + "x" * 32, ("a." + "x" * 32, "")),
    ],
)
def test_split_extension(name: str, parts: tuple[str, str]) -> None:
    assert split_extension(name) == parts


def test_shorten_cuts_at_characters() -> None:
    assert shorten("éé", 3) == "é"
    assert shorten("a. b", 3) == "a"


@pytest.mark.parametrize("value", ["a", "u_abc", "A-1.b_2", "0", "x" * 64])
def test_ids(value: str) -> None:
    assert validate_id("id", value) == value


@pytest.mark.case("K22")
@pytest.mark.parametrize(
    "value",
    ["", "_a", ".a", "-a", "a b", "a/b", "a#b", "a|b", "a*", "é", "a\n", "x" * 65, "..", "\uff41"],
)
def test_not_ids(value: str) -> None:
    refused(validate_id, value)
