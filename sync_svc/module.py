"""Assembles the services of this package from the kernel and the peers."""

from __future__ import annotations

from services.kernel import Kernel, Peers, Registration, ServiceModule
from sync_svc.policy import POLICY

__all__ = ["build"]

_ME = "sync_svc"


def build(kernel: Kernel, peers: Peers) -> ServiceModule:
    """The sync services of one process."""
    registrations: list[Registration] = []
    return ServiceModule(name=_ME, registrations=registrations, policy=POLICY)
