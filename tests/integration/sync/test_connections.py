"""ConnectionService: registering, reading, changing and forgetting manifests."""

from __future__ import annotations

import asyncio
import json
import uuid
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import grpc
import grpc.aio
import pytest
import pytest_asyncio
from google.protobuf.field_mask_pb2 import FieldMask
from workspace.identity.v1.account_service_pb2 import CreateAccountRequest
from workspace.identity.v1.account_service_pb2_grpc import AccountServiceStub
from workspace.identity.v1.identity_service_pb2 import BootstrapPlatformAdminRequest
from workspace.identity.v1.identity_service_pb2_grpc import IdentityServiceStub
from workspace.project.v1.project_service_pb2 import CreateProjectRequest
from workspace.project.v1.project_service_pb2_grpc import ProjectServiceStub
from workspace.sync.v1 import connection_pb2 as co
from workspace.sync.v1 import connection_service_pb2 as cs
from workspace.sync.v1.connection_service_pb2_grpc import ConnectionServiceStub
from workspace.sync.v1.run_pb2 import Run, RunStatus

from services.model.families import FAMILIES
from services.records.port import ABSENT, Key, Put
from services.records.record import Activity, Write
from services.rpc.errors import error_info, peer_status
from tests.chosen_records import chosen, needs_sqlite
from tests.harness import Workspace

ADMIN, ANN, BOB = "root@example.com", "ann@example.com", "bob@example.com"
SERVER_SET = ["instance", "last_reached_at", "created_by", "created_at", "updated_by", "updated_at"]


class Desk:
    """A workspace with a platform admin, an account owner (Ann) and another (Bob)."""

    def __init__(self, ws: Workspace, folder: Path) -> None:
        self.ws, self.folder = ws, folder
        self.account_id = ""

    @property
    def admin(self) -> Any:
        return self.ws.stub(ConnectionServiceStub, as_=ADMIN)

    @property
    def ann(self) -> Any:
        return self.ws.stub(ConnectionServiceStub, as_=ANN)

    @property
    def bob(self) -> Any:
        return self.ws.stub(ConnectionServiceStub, as_=BOB)

    async def enter(self) -> None:
        for person in (ADMIN, ANN, BOB):
            await self.ws.sign_in(person)
        secret = (self.ws.process.kernel.keys_dir / "local.secret").read_text().strip()
        identity = self.ws.stub(IdentityServiceStub, as_=ADMIN)
        request = BootstrapPlatformAdminRequest(bootstrap_secret=secret)
        await identity.BootstrapPlatformAdmin(request)
        self.account_id = await self.account(ANN)

    async def account(self, owner: str) -> str:
        accounts = self.ws.stub(AccountServiceStub, as_=owner)
        made = await accounts.CreateAccount(CreateAccountRequest(name="Acme", type="client_org"))
        return str(made.account.account_id)

    async def project(self, owner: str, account_id: str) -> str:
        projects = self.ws.stub(ProjectServiceStub, as_=owner)
        made = await projects.CreateProject(CreateProjectRequest(name="One", account_id=account_id))
        return str(made.project.project_id)

    def manifest(self, name: str = "disk", **more: Any) -> co.Connection:
        return co.Connection(
            connection_id=name, provider="local",
            settings={"folder": str(self.folder / name)}, **more,
        )  # fmt: skip

    async def create(self, name: str = "disk", **more: Any) -> co.Connection:
        request = cs.CreateConnectionRequest(connection=self.manifest(name, **more))
        return (await self.admin.CreateConnection(request)).connection


@pytest_asyncio.fixture
async def desk(tmp_path: Path) -> AsyncIterator[Desk]:
    async with Workspace.open(tmp_path) as ws:
        opened = Desk(ws, tmp_path)
        await opened.enter()
        yield opened


async def refused(call: Any) -> tuple[grpc.StatusCode, str, dict[str, str], str]:
    """(code, reason, metadata, message) of a call that must fail."""
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call
    status = peer_status(caught.value)
    assert status is not None
    info = error_info(status)
    assert info is not None
    return caught.value.code(), info.reason.removeprefix("ERROR_REASON_"), dict(info.metadata), (
        status.message
    )


async def test_a_manifest_is_kept_with_defaults_and_read_back(desk: Desk) -> None:
    made = await desk.create()
    assert made.name == "Folder"
    assert made.trust == co.TRUST_CONTENT_ONLY
    assert made.status == co.CONNECTION_STATUS_ACTIVE
    assert made.scope.type == co.SYNC_SCOPE_TYPE_ALL
    assert made.created_by
    assert made.updated_at == made.created_at
    assert made.etag
    assert not made.HasField("instance")
    found = await desk.admin.GetConnection(cs.GetConnectionRequest(connection_id="disk"))
    assert found.connection == made
    listed = await desk.admin.ListConnections(cs.ListConnectionsRequest())
    assert list(listed.connections) == [made]
    assert not (desk.folder / "disk").exists(), "registering opens nothing"


async def test_registering_tells_an_event(desk: Desk) -> None:
    await desk.create()
    page = await desk.ws.records.run(
        index=__import__("services.model.indexes", fromlist=["Index"]).Index.BASE,
        partition="CONNECTION#disk", lower="EVENT#", upper="EVENT$", limit=10, after=None,
    )  # fmt: skip
    assert ['"connection.created"' in each.body for each in page.items] == [True]


async def test_the_same_request_again_has_one_effect_and_an_equal_answer(desk: Desk) -> None:
    request = cs.CreateConnectionRequest(
        connection=desk.manifest(""), request_id=str(uuid.uuid4())
    )
    request.connection.settings["folder"] = str(desk.folder / "disk")
    first = await desk.admin.CreateConnection(request)
    assert await desk.admin.CreateConnection(request) == first
    both = await asyncio.gather(*(desk.admin.CreateConnection(request) for _ in range(3)))
    assert all(each == first for each in both)
    request.connection.name = "Another"
    code, reason, _, _ = await refused(desk.admin.CreateConnection(request))
    assert (code, reason) == (grpc.StatusCode.INVALID_ARGUMENT, "REQUEST_ID_REUSED")
    listed = await desk.admin.ListConnections(cs.ListConnectionsRequest())
    assert len(listed.connections) == 1


async def test_twins_of_one_request_at_once_answer_alike(desk: Desk) -> None:
    request = cs.CreateConnectionRequest(
        connection=desk.manifest(), request_id=str(uuid.uuid4())
    )
    answers = await asyncio.gather(*(desk.admin.CreateConnection(request) for _ in range(5)))
    assert all(each == answers[0] for each in answers)


async def test_relative_folders_lie_beside_the_data_folder(desk: Desk) -> None:
    manifest = co.Connection(connection_id="near", provider="local", settings={"folder": "usb/x"})
    made = await desk.admin.CreateConnection(cs.CreateConnectionRequest(connection=manifest))
    data_dir = desk.ws.process.settings.data_dir
    assert made.connection.settings["folder"] == str(data_dir.parent / "usb" / "x")


@pytest.mark.parametrize(
    ("settings", "field"),
    [
        ({}, "folder"),
        ({"folder": "/srv/x", "bucket": "b"}, "bucket"),
        ({"folder": "~/x"}, "folder"),
        ({"folder": "wm-data/inner"}, "folder"),
        ({"folder": "wm-data"}, "folder"),
    ],
)
async def test_wrong_settings_are_named(desk: Desk, settings: dict[str, str], field: str) -> None:
    manifest = co.Connection(provider="local", settings=settings)
    call = desk.admin.CreateConnection(cs.CreateConnectionRequest(connection=manifest))
    code, reason, metadata, _ = await refused(call)
    assert (code, reason) == (grpc.StatusCode.INVALID_ARGUMENT, "INVALID_FIELD")
    assert metadata["field"] == f"connection.settings.{field}"


async def test_what_cannot_be_opened_is_not_registered(desk: Desk) -> None:
    manifest = co.Connection(provider="gcp", settings={"bucket": "b"})
    call = desk.admin.CreateConnection(cs.CreateConnectionRequest(connection=manifest))
    _, reason, metadata, message = await refused(call)
    assert (reason, metadata["field"]) == ("INVALID_FIELD", "connection.provider")
    assert "[local, aws, azure, postgres]" in message


SECRETS = {
    "settings.user": "AKIA" + "ABCDEFGHIJKLMNOP",
    "settings.host": "AccountName=x;AccountKey=" + "k" * 8,
    "settings.database": "postgres://u:hunter2" + "@db/x",
    "note": "password" + "=hunter22",
    "name": "https://x.blob.core.windows.net/c?sv=2024-01-01&se=2030-01-01",
}


@pytest.mark.case("S10")
@pytest.mark.parametrize("field", SECRETS)
async def test_secrets_are_refused_by_their_field_and_never_repeated(
    desk: Desk, field: str
) -> None:
    value = SECRETS[field]
    manifest = desk.manifest()
    if field.startswith("settings."):
        manifest.settings[field.removeprefix("settings.")] = value
    else:
        setattr(manifest, field, value)
    call = desk.admin.CreateConnection(cs.CreateConnectionRequest(connection=manifest))
    code, reason, metadata, message = await refused(call)
    assert (code, reason) == (grpc.StatusCode.INVALID_ARGUMENT, "SECRET_REFUSED")
    assert metadata["field"] == f"connection.{field}"
    assert value not in message
    await desk.create()
    update = cs.UpdateConnectionRequest(
        connection=manifest, update_mask=FieldMask(paths=[field.split(".")[0]])
    )
    _, reason, _, _ = await refused(desk.admin.UpdateConnection(update))
    assert reason == "SECRET_REFUSED"


async def test_a_surface_has_one_connection(desk: Desk) -> None:
    await desk.create()
    taken = cs.CreateConnectionRequest(connection=desk.manifest())
    code, reason, _, _ = await refused(desk.admin.CreateConnection(taken))
    assert (code, reason) == (grpc.StatusCode.ALREADY_EXISTS, "ALREADY_EXISTS")
    (desk.folder / "link").symlink_to(desk.folder / "disk")
    for folder in ("disk", "link", "disk/../disk"):
        manifest = desk.manifest("other")
        manifest.settings["folder"] = str(desk.folder / folder)
        call = desk.admin.CreateConnection(cs.CreateConnectionRequest(connection=manifest))
        assert (await refused(call))[1] == "ALREADY_EXISTS"
    await desk.create("two")
    moved = cs.UpdateConnectionRequest(
        connection=co.Connection(
            connection_id="two", settings={"folder": str(desk.folder / "disk")}
        ),
        update_mask=FieldMask(paths=["settings"]),
    )
    assert (await refused(desk.admin.UpdateConnection(moved)))[1] == "ALREADY_EXISTS"


async def test_an_update_changes_what_the_mask_names(desk: Desk) -> None:
    made = await desk.create()
    request = cs.UpdateConnectionRequest(
        connection=co.Connection(
            connection_id="disk", name="Blue disk", note="not this",
            status=co.CONNECTION_STATUS_PAUSED, etag=made.etag, max_bytes_per_second=5,
        ),
        update_mask=FieldMask(paths=["name", "status", "max_bytes_per_second"]),
        request_id=str(uuid.uuid4()),
    )  # fmt: skip
    changed = await desk.admin.UpdateConnection(request)
    assert changed.connection.name == "Blue disk"
    assert changed.connection.note == ""
    assert changed.connection.status == co.CONNECTION_STATUS_PAUSED
    assert changed.connection.etag != made.etag
    assert changed.connection.settings == made.settings
    assert await desk.admin.UpdateConnection(request) == changed
    request.request_id = str(uuid.uuid4())
    code, reason, _, _ = await refused(desk.admin.UpdateConnection(request))
    assert (code, reason) == (grpc.StatusCode.ABORTED, "ETAG_MISMATCH")


@pytest.mark.parametrize("path", ["connection_id", "provider", "nothing", "etag", *SERVER_SET])
async def test_a_mask_names_only_what_a_client_sets(desk: Desk, path: str) -> None:
    await desk.create()
    request = cs.UpdateConnectionRequest(
        connection=desk.manifest(), update_mask=FieldMask(paths=[path])
    )
    code, reason, _, _ = await refused(desk.admin.UpdateConnection(request))
    assert (code, reason) == (grpc.StatusCode.INVALID_ARGUMENT, "INVALID_MASK")


async def test_deleting_forgets_the_cursors_and_repeats(desk: Desk) -> None:
    made = await desk.create()
    key = Key("SYNC#disk", "STATE")
    await desk.ws.records.put_row(Put(key, ABSENT, "sync_state", json.dumps({"push_cursor": "c"})))
    stale = cs.DeleteConnectionRequest(connection_id="disk", etag='"stale"')
    assert (await refused(desk.admin.DeleteConnection(stale)))[1] == "ETAG_MISMATCH"
    request = cs.DeleteConnectionRequest(
        connection_id="disk", etag=made.etag, request_id=str(uuid.uuid4())
    )
    done = await desk.admin.DeleteConnection(request)
    assert await desk.admin.DeleteConnection(request) == done
    row = await desk.ws.records.get_row(key)
    assert row is not None
    assert (row.deleted, row.body) == (True, "{}")
    get = cs.GetConnectionRequest(connection_id="disk")
    assert (await refused(desk.admin.GetConnection(get)))[1] == "PERMISSION_DENIED"
    again = await desk.create()
    assert again.etag != made.etag


async def test_a_connection_that_a_run_holds_is_left_alone(desk: Desk) -> None:
    await desk.create()
    run = Run(run_id="r_1", connection_id="disk", status=RunStatus.RUN_STATUS_RUNNING)
    run.created_at.GetCurrentTime()
    write = Write(FAMILIES["sync_run"], run)
    await desk.ws.records.commit("RUN#r_1", [write], activity=Activity("sync.started", "runs/r_1"))
    from sync_svc.runs.rows import RunRows

    rows = RunRows(desk.ws.records, now=desk.ws.process.kernel.now)
    await rows.claim("disk", "r_1")
    update = cs.UpdateConnectionRequest(
        connection=desk.manifest(), update_mask=FieldMask(paths=["note"])
    )
    delete = cs.DeleteConnectionRequest(connection_id="disk")
    for call in (desk.admin.UpdateConnection(update), desk.admin.DeleteConnection(delete)):
        code, reason, metadata, _ = await refused(call)
        assert (code, reason) == (grpc.StatusCode.ABORTED, "RUN_ACTIVE")
        assert metadata["run_id"] == "r_1"


async def test_lists_are_by_id_filtered_and_paged(desk: Desk) -> None:
    for name in ("c", "a", "b"):
        await desk.create(name)
    pause = cs.UpdateConnectionRequest(
        connection=co.Connection(connection_id="b", status=co.CONNECTION_STATUS_PAUSED),
        update_mask=FieldMask(paths=["status"]),
    )
    await desk.admin.UpdateConnection(pause)
    request = cs.ListConnectionsRequest(page_size=2)
    first = await desk.admin.ListConnections(request)
    assert [each.connection_id for each in first.connections] == ["a", "b"]
    request.page_token = first.next_page_token
    last = await desk.admin.ListConnections(request)
    assert [each.connection_id for each in last.connections] == ["c"]
    assert not last.next_page_token
    request.provider = "local"
    assert (await refused(desk.admin.ListConnections(request)))[1] == "INVALID_PAGE_TOKEN"
    paused = await desk.admin.ListConnections(
        cs.ListConnectionsRequest(status=co.CONNECTION_STATUS_PAUSED)
    )
    assert [each.connection_id for each in paused.connections] == ["b"]
    none = await desk.admin.ListConnections(cs.ListConnectionsRequest(provider="postgres"))
    assert not none.connections


async def test_an_account_owner_syncs_his_accounts_and_no_more(desk: Desk) -> None:
    made = (
        await desk.ann.CreateConnection(cs.CreateConnectionRequest(connection=desk.manifest("ann")))
    ).connection
    assert made.scope.type == co.SYNC_SCOPE_TYPE_ACCOUNTS
    assert desk.account_id in made.scope.account_ids
    await desk.create("root")
    shown = await desk.ann.ListConnections(cs.ListConnectionsRequest())
    assert [each.connection_id for each in shown.connections] == ["ann"]
    bobs = await desk.account(BOB)
    project = await desk.project(ANN, desk.account_id)
    accounts, projects = co.SYNC_SCOPE_TYPE_ACCOUNTS, co.SYNC_SCOPE_TYPE_PROJECTS
    one = co.SyncScope(type=projects, project_ids=[project])
    await desk.ann.CreateConnection(
        cs.CreateConnectionRequest(connection=desk.manifest("one", scope=one))
    )
    foreign = [
        co.SyncScope(type=co.SYNC_SCOPE_TYPE_ALL),
        co.SyncScope(type=accounts, account_ids=[desk.account_id, bobs]),
        co.SyncScope(type=projects, project_ids=["p_missing"]),
    ]
    for scope in foreign:
        manifest = desk.manifest("more", scope=scope)
        call = desk.ann.CreateConnection(cs.CreateConnectionRequest(connection=manifest))
        assert (await refused(call))[1] == "PERMISSION_DENIED"
        wider = cs.UpdateConnectionRequest(
            connection=co.Connection(connection_id="ann", scope=scope),
            update_mask=FieldMask(paths=["scope"]),
        )
        assert (await refused(desk.ann.UpdateConnection(wider)))[1] == "PERMISSION_DENIED"


async def test_absent_and_forbidden_are_refused_alike(desk: Desk) -> None:
    await desk.create("there")
    said = []
    for name in ("there", "nowhere"):
        requests = (
            desk.ann.GetConnection(cs.GetConnectionRequest(connection_id=name)),
            desk.ann.TestConnection(cs.TestConnectionRequest(connection_id=name)),
            desk.ann.DeleteConnection(cs.DeleteConnectionRequest(connection_id=name)),
            desk.ann.UpdateConnection(
                cs.UpdateConnectionRequest(
                    connection=co.Connection(connection_id=name, name="x"),
                    update_mask=FieldMask(paths=["name"]),
                )
            ),
        )
        answers = [await refused(each) for each in requests]
        assert {each[0] for each in answers} == {grpc.StatusCode.PERMISSION_DENIED}
        said.append([str(each[1:]).replace(name, "<name>") for each in answers])
    assert said[0] == said[1]


async def test_others_find_an_empty_list(desk: Desk) -> None:
    await desk.create()
    await desk.ann.CreateConnection(cs.CreateConnectionRequest(connection=desk.manifest("ann")))
    listed = await desk.bob.ListConnections(cs.ListConnectionsRequest())
    assert not listed.connections


@pytest.mark.case("S08")
async def test_owners_reach_only_what_the_operator_lists(tmp_path: Path) -> None:
    shelf = tmp_path / "shelf"
    async with Workspace.open(tmp_path, sync_places=f"{shelf},db.example.org") as ws:
        desk = Desk(ws, tmp_path)
        await desk.enter()
        outside = cs.CreateConnectionRequest(connection=desk.manifest("out"))
        _, reason, metadata, message = await refused(desk.ann.CreateConnection(outside))
        assert (reason, metadata["field"]) == ("INVALID_FIELD", "connection.settings.folder")
        assert "WM_SYNC_PLACES" in message
        inside = desk.manifest("in")
        inside.settings["folder"] = str(shelf / "ann")
        await desk.ann.CreateConnection(cs.CreateConnectionRequest(connection=inside))
        full = cs.UpdateConnectionRequest(
            connection=co.Connection(connection_id="in", trust=co.TRUST_FULL),
            update_mask=FieldMask(paths=["trust"]),
        )
        assert (await refused(desk.ann.UpdateConnection(full)))[2]["field"] == "connection.trust"
        await desk.admin.UpdateConnection(full)
        wider = cs.UpdateConnectionRequest(  # another scope of full trust is another trust
            connection=co.Connection(
                connection_id="in",
                scope=co.SyncScope(
                    type=co.SYNC_SCOPE_TYPE_ACCOUNTS, account_ids=[desk.account_id]
                ),
            ),
            update_mask=FieldMask(paths=["scope"]),
        )
        assert (await refused(desk.ann.UpdateConnection(wider)))[2]["field"] == "connection.trust"
        await desk.admin.UpdateConnection(wider)
        await desk.admin.CreateConnection(outside)


async def test_over_http_the_body_is_the_manifest(desk: Desk) -> None:
    body = {
        "connection_id": "disk", "provider": "local",
        "settings": {"folder": str(desk.folder / "disk")},
    }  # fmt: skip
    async with desk.ws.client(ADMIN) as http:
        made = await http.post("/api/connections", json=body)
        assert made.status_code in (200, 201), made.text
        assert made.json()["connection"]["connection_id"] == "disk"
        listed = await http.get("/api/connections")
        assert [each["connection_id"] for each in listed.json()["connections"]] == ["disk"]
        tested = await http.post("/api/connections/disk:test", json={})
        assert tested.json()["usable"] is True, tested.text
        changed = await http.patch(
            "/api/connections/disk", params={"update_mask": "note"}, json={"note": "blue"}
        )
        assert changed.json()["connection"]["note"] == "blue", changed.text
        gone = await http.delete("/api/connections/disk")
        assert gone.status_code == 200, gone.text


@needs_sqlite
async def test_the_file_is_private_readable_and_followed(desk: Desk) -> None:
    await desk.create()
    path = desk.ws.process.settings.data_dir / "connections.json"
    assert path.stat().st_mode & 0o777 == 0o600
    document = json.loads(path.read_text())
    assert [each["connection_id"] for each in document["connections"]] == ["disk"]
    assert "unsettled" not in document
    document["comment"] = "by hand"
    document["connections"][0] |= {"note": "edited", "colour": "blue"}
    path.write_text(json.dumps(document))
    get = cs.GetConnectionRequest(connection_id="disk")
    found = (await desk.admin.GetConnection(get)).connection
    assert found.note == "edited"
    rename = cs.UpdateConnectionRequest(
        connection=co.Connection(connection_id="disk", name="Other", etag=found.etag),
        update_mask=FieldMask(paths=["name"]),
    )
    await desk.admin.UpdateConnection(rename)
    kept = json.loads(path.read_text())
    assert kept["comment"] == "by hand"
    assert kept["connections"][0]["colour"] == "blue"
    document["connections"][0]["trust"] = "TOTAL"
    path.write_text(json.dumps(document))
    code, reason, metadata, message = await refused(desk.admin.GetConnection(get))
    assert (code, reason) == (grpc.StatusCode.FAILED_PRECONDITION, "INVALID_STATE")
    assert metadata["field"] == "connections[0].trust"
    assert "connections.json" in message


async def test_connections_survive_a_restart(tmp_path: Path) -> None:
    async with Workspace.open(tmp_path) as ws:
        desk = Desk(ws, tmp_path)
        await desk.enter()
        made = await desk.create()
    async with Workspace.open(tmp_path) as ws:
        await ws.sign_in(ADMIN)
        stub = ws.stub(ConnectionServiceStub, as_=ADMIN)
        get = cs.GetConnectionRequest(connection_id="disk")
        assert (await stub.GetConnection(get)).connection == made
        path = ws.process.settings.data_dir / "connections.json"
        assert path.exists() == (chosen() == "sqlite")
