"""Every code point there is, through the validators of names, against the rule itself.

The oracle knows the categories of Unicode and the list of ignorable code points of its
data file (DerivedCoreProperties, Default_Ignorable_Code_Point), and nothing of ours.
"""

from __future__ import annotations

import sys
import unicodedata
from collections.abc import Callable, Iterator

import pytest

from services.model.errors import Reason, WorkspaceError
from services.model.names import (
    MAX_NAME_CHARS,
    safe_filename,
    validate_document_name,
    validate_name,
    validate_relative_path,
)

Check = Callable[[str, str], str]
IGNORABLE = frozenset(
    code
    for first, last in (
        (0xAD, 0xAD), (0x34F, 0x34F), (0x61C, 0x61C), (0x115F, 0x1160), (0x17B4, 0x17B5),
        (0x180B, 0x180F), (0x200B, 0x200F), (0x202A, 0x202E), (0x2060, 0x206F),
        (0x3164, 0x3164), (0xFEFF, 0xFEFF), (0xFFA0, 0xFFA0), (0xFFF0, 0xFFF8),
        (0x1BCA0, 0x1BCA3), (0x1D173, 0x1D17A), (0xE0000, 0xE0FFF),
    )
    for code in range(first, last + 1)
)  # fmt: skip
SELECTORS = frozenset((*range(0xFE00, 0xFE10), *range(0xE0100, 0xE01F0)))
SYNTAX = frozenset('<>:"|?*\\/')
BLOCK = 50  # characters of four bytes are a name


def is_unseen(code: int) -> bool:
    """Nobody sees it, or no store keeps it."""
    if code in SELECTORS:
        return False
    category = unicodedata.category(chr(code))
    nothing = category in ("Cc", "Cf", "Cs", "Co", "Zl", "Zp")
    return nothing or code in IGNORABLE or code & 0xFFFE == 0xFFFE or 0xFDD0 <= code <= 0xFDEF


def is_syntax(code: int) -> bool:
    """It is a mark of paths, or looks to some layer like one."""
    char = chr(code)
    return char in SYNTAX or (
        code > 0x7F and any(mark in unicodedata.normalize("NFKC", char) for mark in "./\\:")
    )


EVERY = range(sys.maxunicode + 1)
UNSEEN = frozenset(filter(is_unseen, EVERY))
MARKS = frozenset(code for code in EVERY if code not in UNSEEN and is_syntax(code))


def around(check: Check, char: str) -> str | None:
    """What is said of a name with the character in it; None: it is taken."""
    try:
        check("the_field", f"a{char}b")
    except WorkspaceError as error:
        refusal = error
    else:
        return None
    assert refusal.reason == Reason.ERROR_REASON_INVALID_FIELD
    assert refusal.metadata == {"field": "the_field"}
    return refusal.violations[0].description


def blocks(codes: Iterator[int]) -> Iterator[str]:
    """Names of all of them, letters between."""
    held = ""
    for code in codes:
        held += f"a{chr(code)}"
        if len(held) >= BLOCK:
            yield held + "b"
            held = ""
    yield held + "b"


@pytest.mark.case("K08", "K09", "K10")
def test_what_is_unseen_is_refused_by_its_code_point() -> None:
    assert len(UNSEEN) > 140_000
    for code in UNSEEN:
        said = around(validate_name, chr(code))
        assert said is not None, f"U+{code:04X} is taken"
        assert f"U+{code:04X}" in said
        assert safe_filename(f"a{chr(code)}b") == "a_b"


@pytest.mark.case("K08", "K09", "K10")
@pytest.mark.parametrize("check", [validate_document_name, validate_relative_path])
def test_paths_refuse_it_too(check: Check) -> None:
    """Of the planes that are private all through, every hundredth."""
    for code in (each for each in UNSEEN if each < 0xF0000 or each % 100 == 0):
        assert around(check, chr(code)) is not None, f"U+{code:04X} is taken"


@pytest.mark.case("K07", "K11", "K17")
def test_marks_of_paths_are_refused_in_paths_and_taken_in_labels() -> None:
    assert {0x2024, 0x2025, 0x2026, 0xFE30, 0xFF0E, 0xFF0F, 0xFF3C, 0xFE68, 0x2100} < MARKS
    for code in MARKS:
        assert around(validate_document_name, chr(code)) is not None, f"U+{code:04X} is taken"
        if code != ord("/"):
            assert around(validate_relative_path, chr(code)) is not None
        assert around(validate_name, chr(code)) is None, f"U+{code:04X} is refused"


@pytest.mark.case("K12")
def test_all_others_are_taken_and_come_back_in_form_nfc() -> None:
    """A hundred thousand are not assigned yet: emoji of the next version are names, too."""
    taken = (code for code in EVERY if code not in UNSEEN and code not in MARKS)
    for name in blocks(taken):
        wanted = unicodedata.normalize("NFC", name)
        assert len(wanted) <= MAX_NAME_CHARS
        assert validate_document_name("name", name) == wanted
        assert validate_name("name", name) == wanted


@pytest.mark.case("K10")
def test_a_variation_selector_belongs_to_a_character() -> None:
    for code in SELECTORS:
        char = chr(code)
        for alone in (char, f"{char}a", f"a {char}b", f"a{char}{char}b", f"a\u3000{char}"):
            for check in (validate_name, validate_document_name):
                with pytest.raises(WorkspaceError, match=f"U\\+{code:04X}"):
                    check("name", alone)
            assert char not in safe_filename(alone)[:1]
        assert around(validate_name, char) is None
        assert around(validate_document_name, char) is None


@pytest.mark.case("K10")
@pytest.mark.parametrize(
    ("name", "taken"),
    [
        ("❤\ufe0f", True), ("1\ufe0f\u20e3", True), ("葛\U000e0100城", True), ("👍🏽", True),
        ("🇩🇪", True), ("👩\u200d🚀", False), ("🏴\U000e0067\U000e0062\U000e007f", False),
        ("क्\u200dष", False), ("a\u200cb", False),
    ],
)  # fmt: skip
def test_of_sequences_those_that_are_seen_whole(name: str, taken: bool) -> None:
    """What joins characters is not seen, so it is refused there, too."""
    if taken:
        assert validate_name("name", name) == validate_document_name("name", name) == name
        return
    for check in (validate_name, validate_document_name):
        with pytest.raises(WorkspaceError, match="invisible"):
            check("name", name)
