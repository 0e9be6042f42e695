"""Which places on the server's machine and network account owners may connect to.

A manifest has the server open a folder or call a host. On a server for many
people that must not be anybody's choice: the operator lists the places.
"""

from __future__ import annotations

import os
from pathlib import Path

from workspace.sync.v1.connection_pb2 import Connection, Trust

from services.config import Settings
from services.model.errors import WorkspaceError, invalid_field
from sync_svc.connections.providers import folder_of

__all__ = ["Reach"]


class Reach:
    """`places`: folders and hosts. `anywhere`: nothing is checked."""

    def __init__(self, places: list[str], *, anywhere: bool) -> None:
        self._folders = [os.path.realpath(each) for each in places if each.startswith("/")]
        self._hosts = {each.lower() for each in places if not each.startswith("/")}
        self._anywhere = anywhere

    @classmethod
    def of(cls, settings: Settings) -> Reach:
        """As `sync_places` says. A workspace that only people of this machine can
        sign in to is used by whoever could open the folder himself."""
        places = [each.strip() for each in settings.sync_places.split(",") if each.strip()]
        alone = settings.loopback_only and not settings.oidc_issuers
        return cls(places, anywhere=alone and not places)

    def check(self, connection: Connection) -> None:
        """Raises INVALID_FIELD for a place that account owners may not name, and for
        full trust: quota, legal hold and status of accounts are not theirs to take."""
        if self._anywhere:
            return
        if not self._has_folder(folder_of(connection)):
            raise _closed("folder")
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


def _closed(name: str) -> WorkspaceError:
    return invalid_field(
        f"connection.settings.{name}",
        "is not a place that account owners may connect to; ask the operator to add it to "
        "WM_SYNC_PLACES, or have a platform admin register the connection",
    )
