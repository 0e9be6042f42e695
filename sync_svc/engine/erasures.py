"""Whether a text is another one without a person's data, and nothing else.

Erasure (services/records/erasure.py) rewrites a text under its own version, and the
rewritten one wins everywhere. So a surface could put any text in the place of ours by
calling it erased. It is believed only where each difference is one that erasure
makes: an address or a name in whose place its pseudonym stands, or a member that
erasure takes out. Linear in the size of the texts.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any, Final

from services.model.seals import sealed_digest
from services.model.versions import Version
from services.records.erasure import DROPPED, IDENTIFYING

__all__ = ["is_erased_text"]

_ADDRESS: Final = re.compile(r"erased-[A-Za-z0-9_-]{0,8}@erased\.invalid")
_NAME: Final = re.compile(r"Erased user [A-Za-z0-9_-]{0,8}")
_ABSENT: Final = object()


def is_erased_text(before: Version, after: Version) -> bool:
    """Whether erasure may have made `after` of `before`. Never raises."""
    try:
        return before.deleted == after.deleted and _value(
            json.loads(before.body), _unsealed(before.body, json.loads(after.body))
        )
    except (ValueError, RecursionError):
        return False


def _unsealed(body: str, after: Any) -> Any:
    """`after` with the nonce of the event `body`, if it names the digest of that."""
    if not isinstance(after, dict) or after.get("sealed_digest") != sealed_digest(body):
        return after
    nonce = json.loads(body).get("seal_nonce")
    return {n: v for n, v in after.items() if n != "sealed_digest"} | {"seal_nonce": nonce}


def _value(before: Any, after: Any) -> bool:
    if isinstance(before, str) and isinstance(after, str):
        return _text(before, after)
    if isinstance(before, list) and isinstance(after, list):
        return len(before) == len(after) and all(map(_value, before, after))
    if isinstance(before, dict) and isinstance(after, dict):
        return _object(before, after)
    return type(before) is type(after) and bool(before == after)


def _object(before: Mapping[str, Any], after: Mapping[str, Any]) -> bool:
    about = bool(before.get("user_id"))
    own = before.get("type") == "personal" and bool(before.get("owner_user_id"))
    renamed = {name for name in before if "@" in name and name not in after}
    for name, value in after.items():
        old = before.get(name, _ABSENT)
        if old is _ABSENT:
            found = next((each for each in sorted(renamed) if _text(each, name)), None)
            if found is None:
                return False
            renamed.discard(found)
            old = before[found]
        hidden = (about and name in IDENTIFYING) or (own and name == "name")
        if not (hidden and _stands_for_a_person(value)) and not _value(old, value):
            return False
    gone = {name for name in before if name not in after and "@" not in name}
    return gone <= (frozenset(DROPPED) if about else frozenset[str]())


def _stands_for_a_person(value: Any) -> bool:
    return isinstance(value, str) and bool(_NAME.fullmatch(value) or _ADDRESS.fullmatch(value))


def _text(before: str, after: str) -> bool:
    if before == after:
        return True
    first, *pieces = _ADDRESS.split(after)
    if not pieces or not before.startswith(first):
        return False
    at = len(first)
    for piece in pieces[:-1]:
        sign = before.find("@", at)
        found = before.find(piece, sign + 1) if sign >= 0 else -1
        if found < 0 or not _is_address(before[at:found]):
            return False
        at = found + len(piece)
    end = len(before) - len(pieces[-1])
    return end >= at and before.endswith(pieces[-1]) and _is_address(before[at:end])


def _is_address(text: str) -> bool:
    """One address, not a page of text with an address in it."""
    return "@" in text and len(text) <= 320 and not any(map(str.isspace, text))
