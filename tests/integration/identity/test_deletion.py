"""DeleteAccount: after export, with a time of grace; then the purge."""

from __future__ import annotations

from typing import Any

import pytest
from workspace.identity.v1 import account_pb2 as ac
from workspace.identity.v1 import account_service_pb2 as acs
from workspace.identity.v1 import identity_service_pb2 as ids
from workspace.identity.v1 import team_pb2 as tm
from workspace.project.v1 import project_pb2 as pj
from workspace.project.v1 import project_service_pb2 as ps

from identity_svc.accounts.deletion import Deletion
from services.model.families import FAMILIES
from services.records.port import Key
from services.records.record import Activity, Write
from tests.harness import Workspace
from tests.integration.identity.lifecycle import (
    export_account,
    new_project,
    projects,
    run_due,
    set_status,
)
from tests.integration.identity.people import (
    ACCOUNT_ADMIN,
    ANN,
    BOB,
    CAT,
    DAN,
    MEMBER,
    People,
    new_request_id,
    refused,
)

DAY = 24 * 3600
PROJECT = FAMILIES["project"]


def _delete(account_id: str, **more: Any) -> acs.DeleteAccountRequest:
    return acs.DeleteAccountRequest(account_id=account_id, **more)


async def _scene(people: People) -> tuple[str, str, str]:
    await people.sign_in(ANN, BOB, CAT, DAN)
    account_id = await people.account(ANN, bob=ACCOUNT_ADMIN)
    team_id = await people.team(ANN, account_id=account_id)
    await people.add_to_team(ANN, team_id, BOB, MEMBER)
    return account_id, team_id, await new_project(people.ws, ANN, account_id=account_id)


async def _archived_and_exported(people: People, account_id: str) -> None:
    await set_status(people, ANN, account_id, "ARCHIVED")
    await export_account(people, ANN, account_id)


async def _hold(people: People, account_id: str, *, on: bool) -> None:
    request = acs.UpdateAccountRequest(account=ac.Account(account_id=account_id, legal_hold=on))
    request.update_mask.paths.append("legal_hold")
    await people.accounts(ANN).UpdateAccount(request)


async def test_the_export_has_everything_of_the_account_at_every_page_size(ws: Workspace) -> None:
    people = People(ws)
    account_id, team_id, project_id = await _scene(people)
    await new_project(ws, ANN, account_id=await people.account(ANN))  # of another account
    whole = await export_account(people, ANN, account_id, 500)
    keys = [record.key for record in whole]
    assert len(keys) == len(set(keys))
    families = {record.family for record in whole}
    assert {"account", "account_member", "team", "team_member", "project", "project_grant",
            "activity_event"} <= families
    for name in (account_id, team_id, project_id):
        assert any(name in key for key in keys)
    for size in (1, 3):
        again = await export_account(people, ANN, account_id, size)
        assert set(keys) <= {record.key for record in again}, "the first export added an event"
    account = await people.accounts(ANN).GetAccount(acs.GetAccountRequest(account_id=account_id))
    assert account.account.HasField("exported_at")


async def test_the_order_is_archive_export_delete(ws: Workspace) -> None:
    people = People(ws)
    account_id, _, _ = await _scene(people)
    ann = people.accounts(ANN)
    await export_account(people, ANN, account_id)
    with refused("INVALID_STATE"):
        await ann.DeleteAccount(_delete(account_id))
    await set_status(people, ANN, account_id, "ARCHIVED")
    with refused("INVALID_STATE"):  # exported before it was archived
        await ann.DeleteAccount(_delete(account_id))
    await export_account(people, ANN, account_id)
    with refused("ETAG_MISMATCH"):
        await ann.DeleteAccount(_delete(account_id, etag='"old"'))
    request = _delete(account_id, request_id=new_request_id())
    done = await ann.DeleteAccount(request)
    now = ws.process.kernel.now()
    assert abs(done.account.purge_at.seconds - now - 30 * DAY) < 60
    assert await ann.DeleteAccount(request) == done
    with refused("INVALID_STATE"):
        await ann.DeleteAccount(_delete(account_id))
    with refused("REQUEST_ID_REUSED"):
        await ann.DeleteAccount(_delete(account_id, etag="x", request_id=request.request_id))
    taken_back = await set_status(people, ANN, account_id, "ACTIVE")
    assert not taken_back.HasField("purge_at")
    assert await run_due(ws, "account.purge", account_id) is None


async def test_who_may_delete_and_export(ws: Workspace) -> None:
    people = People(ws)
    account_id, _, _ = await _scene(people)
    await people.bootstrap(DAN)
    for email in (BOB, CAT, DAN):
        with refused("PERMISSION_DENIED"):
            await people.accounts(email).DeleteAccount(_delete(account_id))
        with refused("PERMISSION_DENIED"):
            await export_account(people, email, account_id)


async def test_a_personal_workspace_is_not_deleted(ws: Workspace) -> None:
    people = People(ws)
    await people.sign_in(ANN)
    session = await people.identity(ANN).GetSession(ids.GetSessionRequest())
    home = session.session.user.personal_workspace_id
    with refused("INVALID_STATE"):
        await people.accounts(ANN).DeleteAccount(_delete(home))
    with refused("INVALID_STATE"):
        await export_account(people, ANN, home)


async def test_a_hold_of_the_account_or_of_a_project_keeps_it(ws: Workspace) -> None:
    people = People(ws)
    account_id, _, project_id = await _scene(people)
    await _hold(people, account_id, on=True)
    await _archived_and_exported(people, account_id)
    with refused("HELD"):
        await people.accounts(ANN).DeleteAccount(_delete(account_id))
    await set_status(people, ANN, account_id, "ACTIVE")
    await _hold(people, account_id, on=False)
    hold = ps.SetLegalHoldRequest(project_id=project_id, legal_hold=True, reason="court")
    await projects(ws, ANN).SetLegalHold(hold)
    await _archived_and_exported(people, account_id)
    with refused("HELD"):
        await people.accounts(ANN).DeleteAccount(_delete(account_id))
    hold.legal_hold = False
    await projects(ws, ANN).SetLegalHold(hold)
    await people.accounts(ANN).DeleteAccount(_delete(account_id))


async def _let_time_pass(ws: Workspace, account_id: str) -> None:
    """The time of grace is over: `purge_at` lies in the past."""
    key = Key(f"ACCOUNT#{account_id}", f"ACCOUNT#{account_id}")
    base = await ws.records.get(FAMILIES["account"], key)
    account = base.edit()
    account.purge_at.FromSeconds(int(ws.process.kernel.now()) - 1)
    await ws.records.commit(
        key.pk, [Write(FAMILIES["account"], account, base)], activity=Activity("test.time", "x")
    )


async def test_the_purge_ends_everything_and_the_row_stays(ws: Workspace) -> None:
    people = People(ws)
    account_id, team_id, project_id = await _scene(people)
    await people.bootstrap(DAN)
    await _archived_and_exported(people, account_id)
    deleted = await people.accounts(ANN).DeleteAccount(_delete(account_id))
    assert await run_due(ws, "account.purge", account_id) == float(
        f"{deleted.account.purge_at.seconds}.{deleted.account.purge_at.nanos:09}"
    )
    await _let_time_pass(ws, account_id)
    assert await run_due(ws, "account.purge", account_id) is None
    answer = await people.accounts(DAN).GetAccount(acs.GetAccountRequest(account_id=account_id))
    assert answer.account.HasField("purged_at")
    with refused("PERMISSION_DENIED"):
        await people.accounts(ANN).GetAccount(acs.GetAccountRequest(account_id=account_id))
    team = await ws.records.get(FAMILIES["team"], Key(f"TEAM#{team_id}", f"TEAM#{team_id}"))
    assert team.message.status == tm.TEAM_STATUS_ARCHIVED
    key = Key(f"PROJECT#{project_id}", f"PROJECT#{project_id}")
    project = (await ws.records.get(FAMILIES["project"], key)).message
    assert project.status in (pj.PROJECT_STATUS_TRASHED, pj.PROJECT_STATUS_PURGED)
    await run_due(ws, "project.purge", project_id)
    project = (await ws.records.get(FAMILIES["project"], key)).message
    assert project.status == pj.PROJECT_STATUS_PURGED
    with refused("INVALID_STATE"):
        await set_status(people, DAN, account_id, "ACTIVE")
    assert await run_due(ws, "account.purge", account_id) is None


async def test_a_hold_set_in_the_time_of_grace_puts_the_purge_off(ws: Workspace) -> None:
    people = People(ws)
    account_id, _, project_id = await _scene(people)
    await _archived_and_exported(people, account_id)
    await people.accounts(ANN).DeleteAccount(_delete(account_id))
    hold = ps.SetLegalHoldRequest(project_id=project_id, legal_hold=True, reason="court")
    await projects(ws, ANN).SetLegalHold(hold)
    await _let_time_pass(ws, account_id)
    again = await run_due(ws, "account.purge", account_id)
    assert again is not None
    assert again > ws.process.kernel.now() + DAY - 60
    answer = await people.accounts(ANN).GetAccount(acs.GetAccountRequest(account_id=account_id))
    assert not answer.account.HasField("purged_at")


async def test_a_suspended_account_under_deletion_waits(ws: Workspace) -> None:
    people = People(ws)
    account_id, _, _ = await _scene(people)
    await people.bootstrap(DAN)
    await _archived_and_exported(people, account_id)
    await people.accounts(ANN).DeleteAccount(_delete(account_id))
    suspended = await set_status(people, DAN, account_id, "SUSPENDED")
    assert suspended.suspended_by_platform
    for name in ("ACTIVE", "ARCHIVED"):
        with refused("PERMISSION_DENIED"):
            await set_status(people, ANN, account_id, name)
    await _let_time_pass(ws, account_id)
    assert await run_due(ws, "account.purge", account_id) is not None
    assert await people.fact(BOB, account_id=account_id)


async def test_a_hold_that_is_set_while_the_purge_looks_ends_nothing(
    ws: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    people = People(ws)
    account_id, team_id, project_id = await _scene(people)
    await _archived_and_exported(people, account_id)
    await people.accounts(ANN).DeleteAccount(_delete(account_id))
    await _let_time_pass(ws, account_id)
    real = Deletion._held

    async def held(self: Deletion, account: ac.Account) -> str:
        seen = await real(self, account)
        key = Key(f"PROJECT#{project_id}", f"PROJECT#{project_id}")
        project = await ws.records.get(PROJECT, key)
        changed = project.edit()
        changed.legal_hold = True
        await ws.records.commit(
            project.key.pk, [Write(PROJECT, changed, project)], activity=Activity("test.held", "x")
        )
        return seen

    monkeypatch.setattr(Deletion, "_held", held)
    assert await run_due(ws, "account.purge", account_id) is not None
    key = Key(f"ACCOUNT#{account_id}", f"ACCOUNT#{account_id}")
    account = await ws.records.get(FAMILIES["account"], key)
    assert not account.message.HasField("purged_at")
    team = await ws.records.get(FAMILIES["team"], Key(f"TEAM#{team_id}", f"TEAM#{team_id}"))
    assert team.message.status == tm.TeamStatus.TEAM_STATUS_ACTIVE
