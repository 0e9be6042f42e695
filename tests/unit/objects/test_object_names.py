"""Keys, Content-Disposition and Range: pure functions over hostile input."""

from __future__ import annotations

import sys
import unicodedata
from urllib.parse import unquote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.http.ranges import NOT_SATISFIABLE, parse_range
from services.model.errors import WorkspaceError
from services.objects.disposition import content_disposition, is_safe_disposition
from services.objects.keys import key_error, validate_prefix
from services.objects.port import ByteRange


def test_every_code_point_is_classified_and_dangerous_ones_are_refused() -> None:
    accepted = {chr(n) for n in range(sys.maxunicode + 1) if not key_error(f"a{chr(n)}b")}
    for char in accepted:
        assert unicodedata.category(char) not in ("Cc", "Cs", "Co", "Zl", "Zp")
        assert unicodedata.is_normalized("NFC", f"a{char}b")
        assert char == "/" or "/" not in unicodedata.normalize("NFKC", char)
    for char in '\x00\n\x7f\\:*?"<>|\u202e\u2066\u200b\ufeff\u2060\u2025\u2026\uff3c\ufe68\ufffe':
        assert char not in accepted
    assert set("aZ09 -_.()+%#&=é日😀/") <= accepted


@pytest.mark.parametrize("prefix", ["", "a", "a/", "a/b", "co", "con", "a/CON", "x "])
def test_prefixes_may_be_cut_anywhere(prefix: str) -> None:
    assert validate_prefix(prefix) == prefix


@pytest.mark.parametrize("prefix", ["/", "//", "a//", "a//b", "../", "a/../b", ".x", "a\\", "a\0"])
def test_bad_prefixes_are_refused(prefix: str) -> None:
    with pytest.raises(WorkspaceError):
        validate_prefix(prefix)


@pytest.mark.case("F01")
@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("report.pdf", 'attachment; filename="report.pdf"'),
        ("a b.txt", 'attachment; filename="a b.txt"'),
        (
            "Übersicht €.pdf",
            'attachment; filename="Ubersicht _.pdf"; '
            "filename*=UTF-8''%C3%9Cbersicht%20%E2%82%AC.pdf",
        ),
        ('a"b.txt', "attachment; filename=\"a_b.txt\"; filename*=UTF-8''a%22b.txt"),
        ("50%.txt", "attachment; filename=\"50_.txt\"; filename*=UTF-8''50%25.txt"),
        ("../../etc/passwd", 'attachment; filename="passwd"'),
        ("C:\\x\\y.txt", 'attachment; filename="y.txt"'),
        ("a\r\nSet-Cookie: x=1", 'attachment; filename="aSet-Cookie: x=1"'),
        ("a\u202efdp.exe", 'attachment; filename="afdp.exe"'),
        ("", 'attachment; filename="download"'),
        ("..", 'attachment; filename="download"'),
    ],
)
def test_content_disposition(name: str, value: str) -> None:
    assert content_disposition(name) == value
    assert is_safe_disposition(value)


@given(st.text(), st.booleans())
def test_every_name_gives_a_safe_header_and_comes_back(name: str, inline: bool) -> None:
    value = content_disposition(name, inline=inline)
    assert is_safe_disposition(value)
    assert value.isascii()
    assert value.isprintable()
    if "filename*=" in value:
        shown = unquote(value.split("filename*=UTF-8''")[1], errors="strict")
        assert shown
        assert set(shown) <= set(name) - {"/", "\\", "\r", "\n", "\u202e"}


@pytest.mark.parametrize(
    "value",
    ["", "attachment\n", 'attachment; filename="a"b"', "x; attachment", "attachment; filename=a",
     'attachment; filename="a\\"', "attachment; filename*=UTF-8''a b", "attachment;x"],
)  # fmt: skip
def test_other_dispositions_are_not_safe(value: str) -> None:
    assert not is_safe_disposition(value)


@pytest.mark.parametrize(
    ("header", "wanted"),
    [
        ("bytes=0-0", ByteRange(0, 0)),
        ("bytes=2-", ByteRange(2, 9)),
        ("bytes=2-100", ByteRange(2, 9)),
        ("bytes=-3", ByteRange(7, 9)),
        ("bytes=-100", ByteRange(0, 9)),
        ("bytes=10-", NOT_SATISFIABLE),
        ("bytes=10-12", NOT_SATISFIABLE),
        ("bytes=-0", NOT_SATISFIABLE),
        ("", None),
        ("bytes=-", None),
        ("bytes=5-4", None),
        ("bytes=0-1,3-4", None),
        ("items=0-1", None),
        ("bytes=a-b", None),
        ("bytes=0-\u0661", None),
        ("bytes=" + ",".join(["0-1"] * 10_000), None),
        ("bytes=0-" + "9" * 5000, None),
    ],
)
def test_ranges(header: str, wanted: ByteRange | None) -> None:
    assert parse_range(header, 10) == wanted


def test_ranges_of_an_empty_object() -> None:
    assert parse_range("bytes=0-", 0) is NOT_SATISFIABLE
    assert parse_range("bytes=-5", 0) is NOT_SATISFIABLE
