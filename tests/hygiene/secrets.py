"""Secrets in what git tracks: `python -m tests.hygiene.secrets` names file, line and kind.

Two searchers: detect-secrets (keys of clouds and of other services, private keys, passwords in
URLs and assignments, strings too random for words) and the shapes of our own tokens. What is
no secret stands in `secrets_allowed.toml`, with its reason and how often it may be found: one
more in the same file is a finding. The secret itself is never shown.
"""

from __future__ import annotations

import re
import subprocess
import sys
import tomllib
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Final

from detect_secrets.core.plugins.util import get_mapping_from_secret_type_to_class
from detect_secrets.filters import heuristic
from detect_secrets.plugins.base import BasePlugin, RegexBasedDetector
from detect_secrets.plugins.high_entropy_strings import HighEntropyStringsPlugin
from detect_secrets.plugins.keyword import KeywordDetector

from tests.hygiene.shapes import IN_FILES, found

__all__ = ["ALLOWED", "Allowance", "Finding", "allowances", "findings", "scan", "tracked", "unmet"]

ROOT = Path(__file__).parents[2]
ALLOWED = Path(__file__).with_name("secrets_allowed.toml")
_LEFT_OUT: Final = {"IPPublicDetector"}  # an address is no secret
_QUOTED: Final = re.compile(r"(['\"])([\w+/=-]{20,})\1")
_ASSIGNED: Final = re.compile("pass|pwd|secret|key|auth|token|cred", re.IGNORECASE)
_WORDY: Final = re.compile(r"\s|^[a-z]+:[a-z/]|^\[")
"""A value that is a sentence, a list, or a reference to a secret (`ssm:/path`)."""
_DIGEST: Final = re.compile(r"sha(?:256|384|512)-")
"""What a lock file of npm says of a package."""
_NOTHING: Final = (
    heuristic.is_sequential_string, heuristic.is_potential_uuid, heuristic.is_templated_secret,
    heuristic.is_not_alphanumeric_string, heuristic.is_prefixed_with_dollar_sign,
)  # fmt: skip


@dataclass(frozen=True, slots=True, order=True)
class Finding:
    """A place that looks like a secret; `path` is relative to the repository."""

    path: str
    line: int
    kind: str

    def __str__(self) -> str:
        return f"{self.path}:{self.line}: {self.kind}"


@dataclass(frozen=True, slots=True)
class Allowance:
    """`times` a `kind` may be found in `path` (a pattern of Path.match), for a `reason`."""

    path: str
    kind: str
    times: int
    reason: str


@cache
def left_out() -> tuple[str, ...]:
    """Folders that are not searched: what others published."""
    return tuple(row["path"] for row in tomllib.loads(ALLOWED.read_text())["left_out"])


@cache
def allowances() -> tuple[Allowance, ...]:
    """The rows of `secrets_allowed.toml`."""
    return tuple(Allowance(**row) for row in tomllib.loads(ALLOWED.read_text())["allowed"])


def tracked() -> list[Path]:
    """The files of the next commit: tracked, or new and not ignored."""
    command = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    listed = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True).stdout
    return [path for name in listed.split("\0") if name and (path := ROOT / name).is_file()]


def findings(path: str, text: str) -> list[Finding]:
    """All that looks like a secret in a file, allowed or not."""
    own = {
        Finding(path, text.count("\n", 0, place) + 1, kind) for kind, place in found(IN_FILES, text)
    }
    return sorted(own | set(_detected(path, text)))


def unmet(seen: Iterable[Finding]) -> list[str]:
    """What is wrong: findings that nothing allows, allowances for what is not there."""
    seen = list(seen)
    counted = Counter((each.path, each.kind) for each in seen)
    allowed = {(each.path, each.kind): each.times for each in allowances()}
    found_more = {each for each, times in counted.items() if times > allowed.get(each, 0)}
    wrong = [str(each) for each in seen if (each.path, each.kind) in found_more]
    wrong += [
        f"{ALLOWED.name}: {path} has {counted[path, kind]} of {kind!r}, not {times}"
        for (path, kind), times in allowed.items()
        if counted[path, kind] < times
    ]
    return wrong


def scan(files: Iterable[Path]) -> list[Finding]:
    """Findings of the files that are text."""
    found_: list[Finding] = []
    for path in files:
        data = path.read_bytes()
        name = path.relative_to(ROOT).as_posix()
        if b"\0" not in data and not name.startswith(left_out()):
            found_ += findings(name, data.decode("utf-8", "replace"))
    return found_


def _detected(path: str, text: str) -> Iterator[Finding]:
    lines = text.split("\n")
    for plugin in _plugins():
        if not _is_for(plugin, path):
            continue
        for number in sorted(_candidates(plugin, text, lines)):
            line = lines[number - 1]
            for secret in plugin.analyze_line(filename=path, line=line, line_number=number):
                if not _is_nothing(secret.secret_value or "", plugin):
                    yield Finding(path, number, secret.type)


@cache
def _plugins() -> tuple[BasePlugin, ...]:
    found_ = get_mapping_from_secret_type_to_class().values()
    return tuple(plugin() for plugin in found_ if plugin.__name__ not in _LEFT_OUT)


def _is_for(plugin: BasePlugin, path: str) -> bool:
    """Descriptors in generated code are random text, and tests invent passwords by the
    dozen: there only what has the shape of a known key is a finding."""
    if isinstance(plugin, KeywordDetector):
        return not path.startswith(("tests/", "protos/gen/"))
    return not (isinstance(plugin, HighEntropyStringsPlugin) and path.startswith("protos/gen/"))


def _candidates(plugin: BasePlugin, text: str, lines: list[str]) -> Iterable[int]:
    """Line numbers (from 1) worth a closer look: most files have none."""
    if isinstance(plugin, KeywordDetector):
        return (number for number, line in enumerate(lines, 1) if _ASSIGNED.search(line))
    sieves: Iterable[re.Pattern[str]] = (_QUOTED,)
    if isinstance(plugin, RegexBasedDetector):
        sieves = plugin.denylist
    starts = {match.start() for sieve in sieves for match in sieve.finditer(text)}
    return {text.count("\n", 0, start) + 1 for start in starts}


def _is_nothing(secret: str, plugin: BasePlugin) -> bool:
    """A value that cannot be one: a template, a sequence, a reference."""
    if isinstance(plugin, KeywordDetector) and _WORDY.search(secret):
        return True
    return bool(_DIGEST.match(secret)) or any(is_nothing(secret) for is_nothing in _NOTHING)


def main() -> None:
    """Print what is wrong; exit 1 when there is anything."""
    wrong = unmet(scan(tracked()))
    print("\n".join(wrong) or "no secrets")
    sys.exit(bool(wrong))


if __name__ == "__main__":
    main()
