"""docs/operations/access-matrix.md: who may call what, from the rows that the matrix tests.

    .venv/bin/python -m tests.security.matrix_page > docs/operations/access-matrix.md
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterator, Mapping
from itertools import groupby
from pathlib import Path

from grpc import StatusCode as Code

import identity_svc.policy
import project_svc.policy
import storage_svc.policy
import sync_svc.policy
from services.rpc.policy import Policy, Rule, merge_policies
from tests.contract.served import CONTRACT, Rpc
from tests.security.cast import ROLES
from tests.security.requests_table import ROWS, Row

__all__ = ["page"]

_ROOT = Path(__file__).parents[2]
_COMMENTS = _ROOT / "services/http/openapi/comments.json"
_HEAD = """# Access matrix

<!-- Generated from the rows of tests/security/requests_table.py by `make generate`; do not
     edit. `tests/security/test_matrix.py` calls every cell on a running server. -->

Who gets what answer from which RPC. A cell has two halves, `about the things of the caller's
own account, or shared with the caller / about things of strangers, or that do not exist`. The
second half is one answer to the letter: whether a thing exists cannot be told. It is missing
where a request names nothing.

| in a cell | means |
|---|---|
| yes | goes through |
| no | PERMISSION_DENIED (HTTP 403) |
| sign in | UNAUTHENTICATED (HTTP 401) |
| another status | the caller may, and the thing is not in a state for it (or the test asks so) |
| self | yes about the caller, whatever the cell says else |

| role | is |
|---|---|
| anonymous | without a token |
| stranger | signed in, member of nothing |
| neighbour | the administrator of another account |
| viewer, editor | members of the account, its team and open projects, with just that role |
| owner | who made the account and the project |
| platform | a platform administrator: sees metadata of all accounts, no content |
| disabled | an administrator of the account who was disabled, with a token of before |
| service | a service of the workspace by its certificate, without a user |

"Needs" names the right that the caller must have, or what the caller must be; see
[sharing](../guides/sharing.md) for which role has which right. A path that begins with
`/internal` is not published by the gateway.
"""
_WORDS = {Code.OK: "yes", Code.PERMISSION_DENIED: "no", Code.UNAUTHENTICATED: "sign in"}
_NEEDS = re.compile(r"Needs (`[^.;]*)|unless the (?:caller|user) ([^.;]*)")


def page() -> str:
    """The page, a section for each service in the order of the contract."""
    policy = merge_policies(
        *(package.policy.POLICY for package in (identity_svc, project_svc, storage_svc, sync_svc))
    )
    comments: Mapping[str, str] = json.loads(_COMMENTS.read_text())
    served = [CONTRACT[path] for path in CONTRACT if path in ROWS]
    sections = groupby(served, lambda rpc: rpc.descriptor.containing_service.full_name)
    return _HEAD + "".join(
        _section(name, list(rpcs), policy, comments) for name, rpcs in sections
    )


def _section(name: str, rpcs: list[Rpc], policy: Policy, comments: Mapping[str, str]) -> str:
    columns = ["RPC", "HTTP", "needs", *ROLES]
    lines = [f"\n## {name}\n", _line(columns), _line(["---"] * len(columns))]
    for rpc in rpcs:
        found = _NEEDS.search(comments.get(f"{name}.{rpc.name}", ""))
        needs = (found[1] or found[2]).strip() if found else ""
        cells = _cells(ROWS[rpc.path], policy[rpc.path])
        lines.append(_line([rpc.name, f"`{' '.join(rpc.http)}`", needs, *cells]))
    return "\n".join(lines) + "\n"


def _line(cells: list[str]) -> str:
    return f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in cells)} |"


def _cells(row: Row, rule: Rule) -> Iterator[str]:
    for role in ROLES:
        own = _word(row.own(role, rule))
        others = ""
        if row.elsewhere is not None:
            told = (row.other(role, rule, missing=missing) for missing in (False, True))
            others = " / " + " or ".join(dict.fromkeys(_word(code) for code in told))
        oneself = ", self" if row.about_self and role in _WITH_A_SELF and own == "no" else ""
        yield f"{own}{oneself}{others}" if f" / {own}" != others else f"{own}{oneself}"


_WITH_A_SELF = frozenset(ROLES) - {"anonymous", "disabled", "service"}


def _word(code: Code) -> str:
    return _WORDS.get(code, code.name)


if __name__ == "__main__":
    sys.stdout.write(page())
