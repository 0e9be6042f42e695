"""What goes wrong with requests, as a plan says, and how many there were of each kind.

A plan is a list of rules: {"fault": NAME, "operation": KIND or "*", "at": n, "times": k,
"retry_after_ms": ms}: the n-th request of the kind from now on (1 is the next) and the k - 1
after it. Or a seeded one: {"seed": s, "rate": 0.1, "faults": [NAME, ...], "operations":
[KIND, ...]}: the same for the same seed and the same requests.
"""

from __future__ import annotations

import random
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

from tests.fakes.cosmos.errors import Refused, bad_request

__all__ = ["AFTER", "CONNECTION", "FAULTS", "Faults", "refusal_of"]

FAULTS = {
    "THROTTLED": (429, 3200, "Request rate is large."),
    "RETRY_WITH": (449, 0, "The operation encountered a transient error: retry."),
    "UNAVAILABLE": (503, 0, "Service is currently unavailable."),
    "UNAVAILABLE_AFTER": (503, 0, "Service is currently unavailable."),
    "TIMEOUT": (408, 0, "Request timed out."),
    "TIMEOUT_AFTER": (408, 0, "Request timed out."),
    "BROKEN": (500, 0, "Unknown server error."),
    "BROKEN_AFTER": (500, 0, "Unknown server error."),
    "WRITE_FORBIDDEN": (403, 3, "The requested operation cannot be performed at this region"),
    "GONE": (410, 1002, "The requested resource is no longer available at the server."),
    "SPLITTING": (410, 1007, "The partition is completing a split."),
    "EXPIRED": (401, 0, "The provided AAD token has expired."),
    "SKEWED": (403, 0, "The authorization token is not valid at the current time."),
    "CUT": None, "CUT_AFTER": None, "SILENT": None, "SILENT_AFTER": None, "EMPTY_PAGE": None,
}  # fmt: skip
"""Status, substatus and message; None: nothing is answered, or (EMPTY_PAGE) another page."""
AFTER = frozenset(name for name in FAULTS if name.endswith("_AFTER"))
"""The work is done, the answer is another."""
CONNECTION = frozenset(["CUT", "CUT_AFTER", "SILENT", "SILENT_AFTER"])


@dataclass
class _Rule:
    fault: str
    operation: str
    first: int
    times: int
    retry_after_ms: int
    seen: int = 0

    def fits(self, kind: str) -> bool:
        if self.operation not in ("*", kind):
            return False
        self.seen += 1
        return self.first <= self.seen < self.first + self.times


@dataclass
class Faults:
    """Of one account."""

    counts: Counter[str] = field(default_factory=Counter)
    done: Counter[str] = field(default_factory=Counter)
    silence: float = 3600.0
    _rules: list[_Rule] = field(default_factory=list)
    _seeded: dict[str, Any] | None = None
    _random: random.Random = field(default_factory=random.Random)

    def plan(self, wanted: dict[str, Any]) -> None:
        """{"rules": [...], "seeded": {...}, "silence": seconds}; replaces the one before."""
        rules = [
            _Rule(
                str(rule["fault"]), rule.get("operation", "*"), int(rule.get("at", 1)),
                int(rule.get("times", 1)), int(rule.get("retry_after_ms", 10)),
            )
            for rule in wanted.get("rules", [])
        ]  # fmt: skip
        seeded = wanted.get("seeded")
        names = [rule.fault for rule in rules] + list((seeded or {}).get("faults", []))
        if unknown := [name for name in names if name not in FAULTS]:
            raise bad_request(f"no such faults: {unknown}")
        self._rules, self._seeded = rules, seeded
        self._random = random.Random((seeded or {}).get("seed", 0))
        self.silence = float(wanted.get("silence", 3600.0))

    def decide(self, kind: str) -> tuple[str, int]:
        """The fault of this request ("" for none), and the pause that it asks for."""
        self.counts[kind] += 1
        fits = [rule for rule in self._rules if rule.fits(kind)]
        name, pause = (fits[0].fault, fits[0].retry_after_ms) if fits else ("", 10)
        if not name and self._seeded is not None:
            among = self._seeded.get("operations")
            if (among is None or kind in among) and self._random.random() < self._seeded["rate"]:
                name = self._random.choice(self._seeded["faults"])
        if name:
            self.done[name] += 1
        return name, pause


def refusal_of(fault: str, pause: int) -> Refused:
    """The refusal with which the service answers."""
    status, sub, message = FAULTS[fault] or (500, 0, "")
    headers = {"x-ms-retry-after-ms": str(pause)} if status in (429, 449) else {}
    return Refused(status, message, sub=sub, headers=headers)
