"""Replicas of project_svc, each asked on a port of its own: what a balancer hides.

    async with Replicas.open(tmp_path, project=4) as replicas:
        first, *others = replicas.nodes["project"]
        channel = replicas.channel(token, node=first)

Two identity processes under one name, one of storage, no gateway; mutual TLS.
"""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

from services.processes.targets import Target
from tests.cluster import Cluster, Node

__all__ = ["Replicas"]

_NONE = {"gateway": 0, "relay": 0, "sync": 0}


class Replicas(Cluster):
    """See the module. `identity` beyond two are known to nobody but the test."""

    @classmethod
    def open(cls, folder: Path, **given: Any) -> Any:
        """As of Cluster, with 2 identity, 2 project and 1 storage processes by default."""
        return super().open(folder, **{**_NONE, "identity": 2, "project": 2, **given})

    @property
    def http(self) -> str:
        """Nobody answers there: it only begins links."""
        return "https://localhost:1"

    @property
    def grpc_target(self) -> str:
        """The two of identity."""
        return f"localhost:{self.one('identity').grpc}"

    async def start(self) -> None:
        """Everything at once; nine processes on two processors take their time."""
        await asyncio.gather(*(node.start() for node in self.all_nodes))
        await asyncio.gather(*(node.ready(240) for node in self.all_nodes))

    def _node(self, target: str, number: int) -> Node:
        """Replicas of one name are two at most; further ones, and all of project_svc, have
        a port of their own."""
        alone = target == Target.PROJECT or number > 1
        node = super()._node(target, 0 if alone else number)
        node.name = f"{target}-{number}"
        node.log = self.folder / f"{node.name}.log"
        return node

    def _introduce(self) -> None:
        """Others know the first project process; the test knows them all."""
        for node in self.all_nodes:
            node.environment |= {"WM_PUBLIC_URL": self.http}
            for target, nodes in self.nodes.items():
                if nodes:
                    address = f"dns:///localhost:{nodes[0].grpc}"
                    node.environment[f"WM_PEER_{target.upper()}"] = address
