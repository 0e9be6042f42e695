"""`docs/data-identity-model.md`, written from the families table.

Run by `make generate`: python -m services.model.reference > docs/...
"""

from __future__ import annotations

import sys
from collections.abc import Iterator

from services.model.families import FAMILIES, KERNEL_ROWS, Family

__all__ = ["model_reference"]

_HEAD = """# Data and identity model

Generated from `services/model/families.py`; do not edit. The same item families
lie in SQLite, PostgreSQL and every provider to come: a deployment that moves keeps
every id, path and meaning.

A field is *content* (it travels and is in the digest) unless it is listed as
*stamp* (it travels, but is not in the digest) or *local* (it never travels and is
recomputed on arrival). `{field}` in a key is the record's own field.
"""


def model_reference() -> str:
    """The whole page as Markdown."""
    lines = [_HEAD, *_overview()]
    for family in FAMILIES.values():
        lines += _family(family)
    lines += ["## Rows of the kernel", "", "| row | pk | sk | purpose |", "|---|---|---|---|"]
    lines += [f"| {r.name} | `{r.pk}` | `{r.sk}` | {r.purpose} |" for r in KERNEL_ROWS]
    return "\n".join(lines) + "\n"


def _overview() -> Iterator[str]:
    yield from ("| family | pk | sk | owner | synced | policy |", "|---|---|---|---|---|---|")
    for family in FAMILIES.values():
        pk = " or ".join(f"`{template.text}`" for template in family.pk)
        synced = "yes" if family.synced else "no"
        yield (
            f"| [{family.name}](#{family.name}) | {pk} | `{family.sk.text}` | {family.owner} "
            f"| {synced} | {family.policy} |"
        )
    yield ""


def _family(family: Family) -> Iterator[str]:
    yield from (f"## {family.name}", "", f"Message `{family.message.DESCRIPTOR.full_name}`.", "")
    for index, alternatives in family.indexes.items():
        for partition, sort in alternatives:
            yield f"- index {index.name.lower()}: `{partition.text}` / `{sort.text}`"
    yield from ("", "| field | class |", "|---|---|")
    for field in family.message.DESCRIPTOR.fields:
        yield f"| `{field.name}` | {_class_of(family, field.name)} |"
    yield ""


def _class_of(family: Family, field: str) -> str:
    if field == "etag" or field in family.computed:
        return "computed, never stored"
    if field in family.stamp_fields:
        return "stamp"
    return "local" if field in family.local_fields else "content"


if __name__ == "__main__":
    sys.stdout.write(model_reference())
