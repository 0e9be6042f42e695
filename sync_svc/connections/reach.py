"""Which places on the server's machine and network account owners may connect to.

A manifest has the server open a folder or call a host, and lends it the server's
credentials. On a server for many people that must not be anybody's choice: the
operator lists folders, hosts of databases, and stores of clouds, each by its own name
(`stores.py`) with the server that has it if that is not the provider's.
"""

from __future__ import annotations

import os
from pathlib import Path

from workspace.sync.v1.connection_pb2 import Connection, Trust

from services.model.errors import WorkspaceError, invalid_field
from services.processes.targets import Targets
from services.settings import Settings
from sync_svc.connections.providers import folder_of
from sync_svc.connections.stores import STORES, store_name, stores_of

__all__ = ["Reach"]

_STORES = tuple(each.prefix for each in STORES)
_FOR_ADMINS = {
    "profile": "chooses among the credentials of the server",
    "ca_file": "chooses a file of the server, and whom it trusts",
}


class Reach:
    """`places`: folders, hosts and stores. `anywhere`: nothing is checked."""

    def __init__(self, places: list[str], *, anywhere: bool) -> None:
        self._folders = [os.path.realpath(each) for each in places if each.startswith("/")]
        stores = [each for each in places if each.startswith(_STORES)]
        self._stores = frozenset(map(store_name, stores))
        self._hosts = {each.lower() for each in places if not each.startswith(("/", *_STORES))}
        self._anywhere = anywhere

    @classmethod
    def of(cls, settings: Settings) -> Reach:
        """As `sync_places` says. A workspace that only people of this machine can
        sign in to is used by whoever could open the folder himself, and read the
        credentials: signing in takes a file that only its owner can read."""
        places = [each.strip() for each in settings.sync_places.split(",") if each.strip()]
        # The ports of a process without the gateway say nothing about who comes to that.
        published = Targets.parse(settings.targets).publishes
        alone = published and settings.loopback_only and not settings.oidc_issuers
        return cls(places, anywhere=alone and not places)

    def check(self, connection: Connection) -> None:
        """Raises INVALID_FIELD for a place that account owners may not name, and for
        full trust: quota, legal hold and status of accounts are not theirs to take."""
        if self._anywhere:
            return
        folder = folder_of(connection)
        if folder is not None and not self._has_folder(folder):
            raise _closed("folder")
        for name, store in stores_of(connection.settings).items():
            if store not in self._stores:
                raise _closed(name, f" as `{store}`")
        for name, what in _FOR_ADMINS.items():
            if connection.settings.get(name):
                text = f"{what}; only platform admins do"
                raise invalid_field(f"connection.settings.{name}", text)
        host = connection.settings.get("host", "")
        if host and host.lower() not in self._hosts and not self._has_folder(Path(host)):
            raise _closed("host")
        if connection.trust == Trust.TRUST_FULL:
            raise invalid_field(
                "connection.trust",
                "FULL takes what platform admins decide about accounts; ask one to set it",
            )

    def _has_folder(self, folder: Path) -> bool:
        real = Path(os.path.realpath(folder))
        return folder.is_absolute() and any(real.is_relative_to(each) for each in self._folders)


def _closed(name: str, entry: str = "") -> WorkspaceError:
    return invalid_field(
        f"connection.settings.{name}",
        f"is not a place that account owners may connect to; ask the operator to add it{entry} to "
        "WM_SYNC_PLACES, or have a platform admin register the connection",
    )
