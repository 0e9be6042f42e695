"""The backend catalog and the active selection: labels and names, no secrets."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from google.protobuf.json_format import ParseDict
from workspace.storage.v1.catalog_pb2 import (
    BackendProvider,
    BackendSelection,
    ParityCell,
    ParityRow,
    ParityStatus,
)
from workspace.storage.v1.catalog_service_pb2 import (
    GetBackendCatalogResponse,
    GetBackendSelectionResponse,
    GetParityResponse,
)

from services.config import load_selection
from services.model.catalog import PROVIDERS, services_of
from services.model.parity import LINES, Line, faults_of
from services.model.selection import backend_selection
from services.settings import Settings

__all__ = ["Catalog"]

_LABEL = 200


class Catalog:
    """Answers from the model's table and the selection file of this process,
    which is read once: a process does not change its backend."""

    def __init__(self, settings: Settings) -> None:
        self._selection = _selection(settings)

    def providers(self) -> GetBackendCatalogResponse:
        """Every provider, in the order local, aws, azure."""
        return GetBackendCatalogResponse(
            providers=[
                BackendProvider(
                    provider=provider.key,
                    label=provider.label,
                    services=services_of(provider.key),
                    defaults=_parsed(backend_selection(provider=provider.key)),
                )
                for provider in PROVIDERS
            ]
        )

    def selection(self) -> GetBackendSelectionResponse:
        """The active selection."""
        return GetBackendSelectionResponse(selection=self._selection)

    def parity(self) -> GetParityResponse:
        """Every line of the checklist; probes are made anew each time."""
        return GetParityResponse(rows=[_parity_row(line) for line in LINES])


def _parity_row(line: Line) -> ParityRow:
    cells = [_cell(line, provider.key) for provider in PROVIDERS]
    return ParityRow(
        concern=line.concern, label=line.text[:_LABEL], cells=cells, evidence=line.all_checks
    )


def _cell(line: Line, provider: str) -> ParityCell:
    cell = ParityCell(provider=provider, status=ParityStatus.PARITY_STATUS_COVERED)
    if line.service:
        cell.service = services_of(provider)[line.service]
    if line.only not in ("", provider):
        cell.status = ParityStatus.PARITY_STATUS_NOT_APPLICABLE
        cell.note = f"the line is about {line.only}; {provider} passes the same conformance suite"
        if provider != "local":
            cell.note = f"the line is about {line.only}"
    elif faults := faults_of(line):
        cell.status, cell.note = ParityStatus.PARITY_STATUS_MISSING, "; ".join(faults)
    return cell


def _selection(settings: Settings) -> BackendSelection:
    """What the file says, or what runs without one: the local default."""
    if settings.backend_file.exists():
        return _parsed(load_selection(settings.backend_file))
    selection = _parsed(
        backend_selection(provider=settings.provider, environment=settings.environment)
    )
    # The folder's name, not where on the machine it lies: any user may ask.
    selection.storage.folder = f"{settings.data_dir.name}/objects"
    selection.database.file = f"{settings.data_dir.name}/workspace.sqlite"
    return selection


def _parsed(selection: Mapping[str, Any]) -> BackendSelection:
    return ParseDict(dict(selection), BackendSelection(), ignore_unknown_fields=True)
