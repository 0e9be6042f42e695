"""EraseUser and ExportUserData over a whole workspace."""

from __future__ import annotations

import asyncio
import base64
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from workspace.common.v1.permission_pb2 import Permission
from workspace.identity.v1 import account_pb2 as ac
from workspace.identity.v1 import account_service_pb2 as acs
from workspace.identity.v1 import identity_service_pb2 as ids
from workspace.identity.v1 import preference_pb2 as pr
from workspace.identity.v1 import preference_service_pb2 as prs
from workspace.identity.v1 import team_service_pb2 as tms
from workspace.identity.v1 import user_pb2 as us
from workspace.identity.v1.identity_service_pb2_grpc import IdentityServiceStub
from workspace.project.v1 import history_service_pb2 as hs
from workspace.project.v1.history_service_pb2_grpc import HistoryServiceStub

from identity_svc.users.erasure import Erasures
from services.model.canonical import text_digest
from services.model.families import FAMILIES
from services.model.stamp import Stamp
from services.records import erasure as walk
from services.records.codec import content_of, dump
from services.records.port import Item, Key
from tests.conformance.records.harness import PostgresServer
from tests.harness import Workspace
from tests.integration.identity.lifecycle import all_rows, give, new_project, run_due
from tests.integration.identity.people import (
    ADMIN,
    ANN,
    BOB,
    CAT,
    DAN,
    EDITOR,
    MEMBER,
    OWNER,
    People,
    new_request_id,
    refused,
)
from tests.unordered_records import UnorderedRecords

OWN = Permission.PERMISSION_OWNER
NAME = "Roberta Quxley"


def _erase(user_id: str, **more: Any) -> ids.EraseUserRequest:
    return ids.EraseUserRequest(user_id=user_id, confirm_user_id=user_id, **more)


async def _scene(ws: Workspace) -> tuple[People, str, str, str]:
    """Bob, named NAME, is in everything of Ann's, and others wrote his address."""
    people = People(ws)
    await ws.sign_in(BOB, name=NAME)
    _, bob, _ = await people.sign_in(ANN, BOB, DAN)
    await people.bootstrap(DAN)
    account_id = await people.account(ANN, bob=EDITOR)
    team_id = await people.team(ANN, account_id=account_id)
    await people.add_to_team(ANN, team_id, BOB, MEMBER)
    await people.team_member(ANN, team_id, BOB, "role", role=ADMIN)
    project_id = await new_project(ws, ANN, account_id=account_id)
    await give(ws, ANN, project_id, bob, Permission.PERMISSION_VIEW, note=f"for {BOB.upper()}!")
    request = prs.UpdateNotificationPreferencesRequest(
        user_id=bob,
        preferences=[
            pr.NotificationPreference(
                topic="project.shared",
                delivery=pr.NotificationDelivery.NOTIFICATION_DELIVERY_NONE,
            )
        ],
        request_id=new_request_id(),
    )
    request.update_mask.paths.append("delivery")
    await people.preferences(BOB).UpdateNotificationPreferences(request)
    update = ids.UpdateUserRequest(
        user=us.User(user_id=bob, name=NAME), request_id=new_request_id()
    )
    update.update_mask.paths.append("name")
    await people.identity(BOB).UpdateUser(update)
    await people.accounts(ANN).UpdateAccountMember(_role(account_id, bob))
    return people, bob, account_id, project_id


def _role(account_id: str, user_id: str) -> acs.UpdateAccountMemberRequest:
    request = acs.UpdateAccountMemberRequest(
        member=ac.AccountMember(account_id=account_id, user_id=user_id, role=EDITOR),
        request_id=new_request_id(),
    )
    request.update_mask.paths.append("role")
    return request


def traces(rows: list[Item], *texts: str) -> list[Key]:
    """Rows in which one of the texts is written, answers of requests included."""
    found = []
    for row in rows:
        body = row.body
        if row.family == "request":
            body += base64.b64decode(json.loads(body)["answer"]).decode("utf-8", "replace")
        if any(text.lower() in body.lower() for text in texts):
            found.append(row.key)
    return found


def bad_digests(rows: list[Item]) -> list[Key]:
    """Rows whose digest is not that of their content: what `wm doctor` looks for."""
    bad = []
    for row in rows:
        family = FAMILIES.get(row.family)
        if family is None:
            continue
        content = content_of(family, json.loads(row.body or "{}"))
        expected = text_digest(family.name, row.deleted, dump(content))
        if Stamp.load(row.stamp).digest != expected:
            bad.append(row.key)
    return bad


async def test_nothing_of_the_person_is_left_and_the_structure_stays(ws: Workspace) -> None:
    people, bob, account_id, _ = await _scene(ws)
    before = await all_rows(ws)
    assert len(traces(before, BOB)) > 10
    assert {key.sk[:4] for key in traces(before, BOB, NAME)} > {"EVEN", "REQ#", "MEMB", "USER"}
    done = await people.identity(BOB).EraseUser(_erase(bob, request_id=new_request_id()))
    assert done.user.status == us.USER_STATUS_ERASED
    assert done.user.HasField("erased_at")
    assert done.consistency_token
    assert await run_due(ws, "user.erasure", bob) is None
    after = await all_rows(ws)
    assert traces(after, BOB, NAME) == []
    assert bad_digests(after) == []
    assert {row.key for row in before} <= {row.key for row in after}, "no row went"
    members = await people.accounts(ANN).ListAccountMembers(
        acs.ListAccountMembersRequest(account_id=account_id)
    )
    (shown,) = [m for m in members.members if m.user_id == bob]
    assert shown.name == done.user.name != NAME
    assert shown.email.endswith("@erased.invalid")


async def test_the_same_on_postgresql(tmp_path: Path) -> None:
    server = PostgresServer()
    settings = {"records": "postgresql", "records_dsn": server.database()}
    async with Workspace.open(tmp_path, **settings) as ws:
        people, bob, _, _ = await _scene(ws)
        await people.identity(BOB).EraseUser(_erase(bob))
        assert await run_due(ws, "user.erasure", bob) is None
        rows = await all_rows(ws)
        assert traces(rows, BOB, NAME) == []
        assert bad_digests(rows) == []
    server.stop()


async def test_the_heads_and_sequences_stay_and_rewritten_events_are_marked(
    ws: Workspace,
) -> None:
    people, bob, account_id, _ = await _scene(ws)
    pk = f"ACCOUNT#{account_id}"
    before = {row.key: row for row in await all_rows(ws) if row.key.pk == pk}
    head = await ws.records.head(pk)
    cursor = await ws.records.tail()
    await people.identity(DAN).EraseUser(_erase(bob))
    await run_due(ws, "user.erasure", bob)
    assert (await ws.records.head(pk)).pseq == head.pseq
    changed = [
        row
        for row in (await ws.records.changes(cursor, 1000)).items
        if row.key.pk == pk and row.family != "head"
    ]
    assert changed
    for row in changed:
        assert row.key in before, "a rewrite is no new row"
        if row.family in FAMILIES:
            assert Stamp.load(row.stamp).erased
        if row.family == "activity_event":
            assert Stamp.load(row.stamp).dot == Stamp.load(before[row.key].stamp).dot


@pytest.mark.case("H07")
async def test_the_audit_chains_stay_intact(ws: Workspace) -> None:
    people, bob, account_id, project_id = await _scene(ws)
    await people.identity(DAN).EraseUser(_erase(bob))
    await run_due(ws, "user.erasure", bob)
    history = ws.stub(HistoryServiceStub, as_=ANN)
    for scope in ({"account_id": account_id}, {"project_id": project_id}):
        verified = await history.VerifyActivity(hs.VerifyActivityRequest(**scope))
        assert verified.intact, verified.faults
        assert verified.verified_count
        assert verified.erased_count == int("project_id" in scope)


@pytest.mark.case("G16")
async def test_it_is_final(ws: Workspace) -> None:
    people, bob, _, _ = await _scene(ws)
    request = _erase(bob, request_id=new_request_id())
    done = await people.identity(DAN).EraseUser(request)
    assert await people.identity(DAN).EraseUser(request) == done
    again = await people.identity(DAN).EraseUser(_erase(bob))
    assert again.user == done.user
    with refused("USER_DISABLED"):
        await people.identity(BOB).GetSession(ids.GetSessionRequest())
    with refused("INVALID_STATE"):
        await people.identity(DAN).EnableUser(ids.EnableUserRequest(user_id=bob))
    await run_due(ws, "user.erasure", bob)
    with refused("USER_DISABLED"):  # the same identity is the same user, for ever
        await people.identity(BOB).NormalizeIdentity(ids.NormalizeIdentityRequest())
    with refused("USER_DISABLED"):
        await ws.stub(IdentityServiceStub).IssueLocalToken(
            ids.IssueLocalTokenRequest(email=BOB, name=NAME, local_secret=people.secret)
        )
    assert traces(await all_rows(ws), NAME) == []


@pytest.mark.case("G09")
async def test_who_may_and_what_stands_against_it(ws: Workspace) -> None:
    people, bob, _account_id, _ = await _scene(ws)
    with refused("PERMISSION_DENIED"):
        await people.identity(ANN).EraseUser(_erase(bob))
    with refused("INVALID_FIELD"):
        await people.identity(BOB).EraseUser(
            ids.EraseUserRequest(user_id=bob, confirm_user_id=bob[:-1] + "x")
        )
    with refused("ETAG_MISMATCH"):
        await people.identity(BOB).EraseUser(_erase(bob, etag='"old"'))
    ann = await ws.sign_in(ANN)
    with refused("LAST_OWNER"):  # of the account
        await people.identity(ANN).EraseUser(_erase(ann))
    team_id = await people.team(BOB)
    with refused("LAST_OWNER"):  # of a team of his personal workspace
        await people.identity(BOB).EraseUser(_erase(bob))
    await people.teams(BOB).ArchiveTeam(tms.ArchiveTeamRequest(team_id=team_id))
    project_id = await new_project(ws, BOB)
    with refused("LAST_OWNER"):
        await people.identity(BOB).EraseUser(_erase(bob))
    await give(ws, BOB, project_id, ann, OWN)
    user = (await people.identity(BOB).GetUser(ids.GetUserRequest(user_id=bob))).user
    assert user.status == us.USER_STATUS_ACTIVE
    assert not user.disabled_reason
    hold = acs.UpdateAccountRequest(
        account=ac.Account(account_id=user.personal_workspace_id, legal_hold=True)
    )
    hold.update_mask.paths.append("legal_hold")
    await people.accounts(BOB).UpdateAccount(hold)
    with refused("HELD"):
        await people.identity(BOB).EraseUser(_erase(bob))
    hold.account.legal_hold = False
    await people.accounts(BOB).UpdateAccount(hold)
    request = _erase(bob, request_id=new_request_id())
    await people.identity(DAN).EraseUser(request)
    with refused("REQUEST_ID_REUSED"):
        request.etag = "x"
        await people.identity(DAN).EraseUser(request)


async def test_killed_at_any_step_it_resumes(
    ws: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    people, bob, _, _ = await _scene(ws)
    await people.identity(BOB).EraseUser(_erase(bob))
    monkeypatch.setattr("identity_svc.users.erasure._ROWS_A_STEP", 1)
    monkeypatch.setattr(walk, "_SCAN", 7)
    handlers = {k: h for module in ws.process.modules for k, h in module.due.items()}
    real, failures = ws.records.rewrite, 0

    async def dying(pk: str, puts: Any, **told: Any) -> None:
        nonlocal failures
        failures += 1
        if failures % 3 == 1:
            raise ConnectionError("killed before the write")
        await real(pk, puts, **told)
        if failures % 3 == 2:
            raise ConnectionError("killed after the write")

    monkeypatch.setattr(ws.records, "rewrite", dying)
    for _ in range(1000):
        try:
            if await handlers["user.erasure"](bob) is None:
                break
        except ConnectionError:
            continue
    assert failures > 10
    rows = await all_rows(ws)
    assert traces(rows, BOB, NAME) == []
    assert bad_digests(rows) == []


@pytest.mark.parametrize("step", ["_set_claim", "_require_no_orphans"])
async def test_a_call_that_dies_after_the_claim_is_taken_back(
    ws: Workspace, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    people, bob, _, _ = await _scene(ws)
    real: Callable[..., Any] = getattr(Erasures, step)
    calls = 0

    async def dying(self: Erasures, *args: Any, **kwargs: Any) -> Any:
        nonlocal calls
        calls += 1
        if step == "_require_no_orphans" and calls == 1:
            return await real(self, *args, **kwargs)
        if step == "_set_claim":
            await real(self, *args, **kwargs)
        raise ConnectionError("killed")

    monkeypatch.setattr(Erasures, step, dying)
    with refused("INTERNAL"):
        await people.identity(DAN).EraseUser(_erase(bob))
    monkeypatch.undo()
    user = (await people.identity(DAN).GetUser(ids.GetUserRequest(user_id=bob))).user
    assert user.status == us.USER_STATUS_DISABLED
    monkeypatch.setattr("identity_svc.users.erasure._GRACE_SECONDS", -1.0)
    assert await run_due(ws, "user.erasure", bob) is None
    user = (await people.identity(DAN).GetUser(ids.GetUserRequest(user_id=bob))).user
    assert user.status == us.USER_STATUS_ACTIVE
    assert user.name == NAME
    row = await ws.records.get_row(Key(f"ERASURE#{bob}", "ERASURE"))
    assert row is not None
    assert row.deleted
    assert row.body == "{}"


@pytest.mark.parametrize("disabled", ["before", "after"])
async def test_a_reason_enables_nobody(
    ws: Workspace, monkeypatch: pytest.MonkeyPatch, disabled: str
) -> None:
    """Whom an admin disabled, with whatever text, stays disabled when an erasure
    that was begun is taken back."""
    people, bob, _, _ = await _scene(ws)
    real: Callable[..., Any] = Erasures._set_claim

    async def disable() -> None:
        await people.identity(DAN).DisableUser(
            ids.DisableUserRequest(user_id=bob, reason="is being erased")
        )

    async def dying(self: Erasures, *args: Any, **kwargs: Any) -> Any:
        await real(self, *args, **kwargs)
        raise ConnectionError("killed")

    if disabled == "before":
        await disable()
    with monkeypatch.context() as patch:
        patch.setattr(Erasures, "_set_claim", dying)
        with refused("INTERNAL"):
            await people.identity(DAN).EraseUser(_erase(bob))
    if disabled == "after":
        await disable()
    with refused("ETAG_MISMATCH"):
        await people.identity(DAN).EraseUser(_erase(bob, etag='"old"'))
    monkeypatch.setattr("identity_svc.users.erasure._GRACE_SECONDS", -1.0)
    assert await run_due(ws, "user.erasure", bob) is None
    user = (await people.identity(DAN).GetUser(ids.GetUserRequest(user_id=bob))).user
    assert user.status == us.USER_STATUS_DISABLED


async def test_erased_while_the_others_leave_an_owner_stays(ws: Workspace) -> None:
    """The one who is erased and the one who leaves are the two owners."""
    people = People(ws)
    await people.sign_in(ANN, BOB, CAT, DAN)
    await people.bootstrap(DAN)
    for number in range(6):
        email = f"own{number}@example.com"
        user_id = await ws.sign_in(email)
        account_id = await people.account(CAT)
        await people.add_member(CAT, account_id, email, OWNER)
        results = await asyncio.gather(
            people.identity(DAN).EraseUser(_erase(user_id)),
            people.remove(CAT, account_id, CAT),
            return_exceptions=True,
        )
        assert not all(not isinstance(r, BaseException) for r in results), "nobody is left"


async def _export(people: People, by: str, user_id: str, size: int) -> list[Any]:
    found, token = list[Any](), ""
    while True:
        page = await people.identity(by).ExportUserData(
            ids.ExportUserDataRequest(user_id=user_id, page_size=size, page_token=token)
        )
        found += page.records
        token = page.next_page_token
        if not token:
            return found


@pytest.mark.parametrize("unordered", [False, True], ids=["ordered", "unordered"])
async def test_the_export_is_about_the_user_alone_at_every_page_size(
    ws: Workspace, monkeypatch: pytest.MonkeyPatch, unordered: bool
) -> None:
    people, bob, _, _ = await _scene(ws)
    if unordered:
        driver = UnorderedRecords(ws.records.driver)
        monkeypatch.setattr(ws.records, "_driver", driver)
    whole = await _export(people, BOB, bob, 500)
    families = [record.family for record in whole]
    for name in ("user", "identity_link", "account", "account_member", "team_member",
                 "notification_preference", "project_grant", "activity_event"):
        assert name in families, name
    text = str(whole)
    assert BOB in text
    assert ANN not in text
    assert all("changes" not in r.data for r in whole if r.family == "activity_event")
    for size in (1, 7, len(whole), len(whole) + 1):
        again = await _export(people, BOB, bob, size)
        assert [(r.family, r.resource) for r in again] == [(r.family, r.resource) for r in whole]
    assert len(await _export(people, DAN, bob, 500)) == len(whole)
    with refused("PERMISSION_DENIED"):
        await _export(people, ANN, bob, 50)
    first = await people.identity(BOB).ExportUserData(
        ids.ExportUserDataRequest(user_id=bob, page_size=1)
    )
    with refused("INVALID_PAGE_TOKEN"):
        await people.identity(DAN).ExportUserData(
            ids.ExportUserDataRequest(
                user_id=bob, page_size=1, page_token=first.next_page_token
            )
        )
