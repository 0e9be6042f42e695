"""The cases by name. Each module has `TITLE` and `run(bench) -> Result`."""

from __future__ import annotations

from typing import Protocol, cast

from tests.bench.case import Bench
from tests.bench.cases import (
    abuse,
    aws_objects,
    aws_push,
    aws_records,
    aws_signing,
    azure_objects,
    azure_push,
    azure_records,
    azure_signing,
    commits,
    data_plane,
    importing,
    object_proxy,
    permissions,
    permissions_scale,
    rates,
    replicas,
    rpc,
    startup,
    sync_memory,
    sync_objects,
    sync_records,
    transfers,
)
from tests.bench.figures import Result

__all__ = ["CASES", "Case"]


class Case(Protocol):
    """A module of this package."""

    TITLE: str

    def run(self, bench: Bench) -> Result: ...


CASES: dict[str, Case] = {
    "rpc": cast("Case", rpc),
    "rates": cast("Case", rates),
    "abuse": cast("Case", abuse),
    "permissions": cast("Case", permissions),
    "permissions_scale": cast("Case", permissions_scale),
    "replicas": cast("Case", replicas),
    "commits": cast("Case", commits),
    "transfers": cast("Case", transfers),
    "startup": cast("Case", startup),
    "importing": cast("Case", importing),
    "data_plane": cast("Case", data_plane),
    "object_proxy": cast("Case", object_proxy),
    "sync_records": cast("Case", sync_records),
    "sync_objects": cast("Case", sync_objects),
    "sync_memory": cast("Case", sync_memory),
    "aws_signing": cast("Case", aws_signing),
    "aws_records": cast("Case", aws_records),
    "aws_objects": cast("Case", aws_objects),
    "aws_push": cast("Case", aws_push),
    "azure_signing": cast("Case", azure_signing),
    "azure_records": cast("Case", azure_records),
    "azure_objects": cast("Case", azure_objects),
    "azure_push": cast("Case", azure_push),
}
