"""CatalogService."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import grpc
from workspace.storage.v1.catalog_service_pb2 import (
    GetBackendCatalogRequest,
    GetBackendSelectionRequest,
)
from workspace.storage.v1.catalog_service_pb2_grpc import CatalogServiceStub

from tests.chosen_records import provider
from tests.harness import Workspace
from tests.integration.storage.people import ANN, Desk, refused


async def test_the_catalog_is_that_of_the_model(desk: Desk) -> None:
    stub: Any = desk.ws.stub(CatalogServiceStub, as_=ANN)
    providers = (await stub.GetBackendCatalog(GetBackendCatalogRequest())).providers
    assert [provider.provider for provider in providers] == ["local", "aws", "azure"]
    local, aws, azure = providers
    assert aws.services["application_records"] == "DynamoDB"
    assert azure.services["files"] == "Blob Storage"
    assert aws.services.keys() == azure.services.keys() == local.services.keys()
    assert aws.defaults.storage.bucket == "workspace-management-dev-documents"
    assert (aws.defaults.region, azure.defaults.location) == ("us-east-1", "eastus")
    assert azure.defaults.database.container == "workspace_items"


async def test_without_a_file_the_selection_is_that_of_the_settings(desk: Desk) -> None:
    stub: Any = desk.ws.stub(CatalogServiceStub, as_=ANN)
    selection = (await stub.GetBackendSelection(GetBackendSelectionRequest())).selection
    assert (selection.provider, selection.environment) == (provider(), "local")
    assert selection.storage.private_prefix_mode == "workspace-model"
    assert str(Path(desk.ws.process.settings.data_dir).parent) not in str(selection)


async def test_the_selection_is_that_of_the_file(tmp_path: Path) -> None:
    file = tmp_path / "backend.toml"
    file.write_text(
        'provider = "local"\nenvironment = "lab"\n'
        '[storage]\nfolder = "objects"\nprivatePrefixMode = "workspace-model"\n'
        '[database]\nfile = "w.sqlite"\nitemContainer = "workspace_items"\n'
    )
    async with Workspace.open(tmp_path, backend_file=file) as ws:
        await ws.sign_in(ANN)
        stub: Any = ws.stub(CatalogServiceStub, as_=ANN)
        selection = (await stub.GetBackendSelection(GetBackendSelectionRequest())).selection
    assert (selection.environment, selection.storage.folder) == ("lab", "objects")
    assert selection.database.item_container == "workspace_items"


async def test_nobody_asks_without_credentials(desk: Desk) -> None:
    stub: Any = desk.ws.stub(CatalogServiceStub)
    for call in (
        stub.GetBackendCatalog(GetBackendCatalogRequest()),
        stub.GetBackendSelection(GetBackendSelectionRequest()),
    ):
        assert (await refused(call)).code is grpc.StatusCode.UNAUTHENTICATED
