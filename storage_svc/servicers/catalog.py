"""CatalogService."""

# ruff: noqa: N802 - the contract names the methods

from __future__ import annotations

from workspace.storage.v1.catalog_service_pb2 import (
    GetBackendCatalogRequest,
    GetBackendCatalogResponse,
    GetBackendSelectionRequest,
    GetBackendSelectionResponse,
    GetParityRequest,
    GetParityResponse,
)
from workspace.storage.v1.catalog_service_pb2_grpc import CatalogServiceServicer

from services.rpc.wrap import Context
from storage_svc.catalog import Catalog

__all__ = ["CatalogServicer"]


class CatalogServicer(CatalogServiceServicer):
    """Which backends exist and which one is active."""

    def __init__(self, catalog: Catalog) -> None:
        self._catalog = catalog

    async def GetBackendCatalog(
        self, _request: GetBackendCatalogRequest, _: Context
    ) -> GetBackendCatalogResponse:
        return self._catalog.providers()

    async def GetBackendSelection(
        self, _request: GetBackendSelectionRequest, _: Context
    ) -> GetBackendSelectionResponse:
        return self._catalog.selection()

    async def GetParity(self, _request: GetParityRequest, _: Context) -> GetParityResponse:
        return self._catalog.parity()
