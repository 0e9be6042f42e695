"""Machine tokens: made once, cut to their scope, gone when revoked (G04)."""

from __future__ import annotations

import asyncio
import logging
from typing import Any

import pytest
from google.protobuf.duration_pb2 import Duration
from workspace.common.v1.permission_pb2 import Permission
from workspace.identity.v1 import account_service_pb2 as acs
from workspace.identity.v1 import identity_service_pb2 as ids
from workspace.identity.v1 import machine_token_pb2 as mt
from workspace.identity.v1 import team_service_pb2 as tms
from workspace.identity.v1.account_service_pb2_grpc import AccountServiceStub
from workspace.identity.v1.identity_service_pb2_grpc import IdentityServiceStub
from workspace.identity.v1.team_service_pb2_grpc import TeamServiceStub
from workspace.project.v1 import document_service_pb2 as ds
from workspace.project.v1 import grant_pb2 as gr
from workspace.project.v1 import grant_service_pb2 as gs
from workspace.project.v1 import permission_service_pb2 as pms
from workspace.project.v1 import project_service_pb2 as ps
from workspace.project.v1.document_service_pb2_grpc import DocumentServiceStub
from workspace.project.v1.grant_service_pb2_grpc import GrantServiceStub
from workspace.project.v1.permission_service_pb2_grpc import PermissionServiceStub
from workspace.project.v1.project_service_pb2_grpc import ProjectServiceStub

from services.model.families import FAMILIES
from services.records.port import Key
from services.rpc.local import LocalChannel
from tests.harness import BearerChannel, Workspace
from tests.integration.identity.people import ANN, BOB, EDITOR, People, new_request_id, refused

VIEW, WRITE, OWNER = (
    Permission.PERMISSION_VIEW, Permission.PERMISSION_WRITE, Permission.PERMISSION_OWNER
)
MANAGE = Permission.PERMISSION_MANAGE_ACCESS


@pytest.fixture
async def people(ws: Workspace) -> People:
    for email in (ANN, BOB):
        await ws.sign_in(email)
    return People(ws)


class Robot:
    """Stubs that carry a machine token."""

    def __init__(self, ws: Workspace, secret: str) -> None:
        channel = BearerChannel(LocalChannel(ws.process.local, service=""), secret)
        self.identity: Any = IdentityServiceStub(channel)
        self.accounts: Any = AccountServiceStub(channel)
        self.teams: Any = TeamServiceStub(channel)
        self.projects: Any = ProjectServiceStub(channel)
        self.grants: Any = GrantServiceStub(channel)
        self.permissions: Any = PermissionServiceStub(channel)
        self.documents: Any = DocumentServiceStub(channel)


async def create(people: People, email: str = ANN, **scope: Any) -> Any:
    request = ids.CreateMachineTokenRequest(name="nightly", **scope)
    return await people.identity(email).CreateMachineToken(request)


async def robot(people: People, email: str = ANN, **scope: Any) -> Robot:
    return Robot(people.ws, (await create(people, email, **scope)).secret)


async def project(people: People, email: str = ANN, **home: Any) -> str:
    stub = people.ws.stub(ProjectServiceStub, as_=email)
    made = await stub.CreateProject(ps.CreateProjectRequest(name="Bridge", **home))
    return str(made.project.project_id)


async def user_id(robot: Robot) -> str:
    return str((await robot.identity.GetSession(ids.GetSessionRequest())).session.user.user_id)


@pytest.mark.case("T54")
async def test_a_token_acts_as_its_user_until_it_is_revoked(people: People) -> None:
    made = await create(people)
    actor = Robot(people.ws, made.secret)
    assert await user_id(actor) == await people.ws.sign_in(ANN)
    revoked = await people.identity(ANN).RevokeMachineToken(
        ids.RevokeMachineTokenRequest(token_id=made.machine_token.token_id)
    )
    assert revoked.machine_token.status == mt.MACHINE_TOKEN_STATUS_REVOKED
    assert revoked.machine_token.revoked_by == await people.ws.sign_in(ANN)
    with refused("UNAUTHENTICATED"):  # at once, on the very next call
        await user_id(actor)


async def test_a_repeat_shows_the_same_secret_and_only_its_hash_is_stored(people: People) -> None:
    request_id = new_request_id()
    first, again = [await create(people, request_id=request_id) for _ in range(2)]
    assert first == again
    assert first.secret.startswith("wmt_")
    user = await people.ws.sign_in(ANN)
    key = Key(f"USER#{user}", f"MACHINE#{first.machine_token.token_id}")
    stored = (await people.ws.records.get(FAMILIES["machine_token"], key)).message
    assert len(stored.secret_sha256) == 32
    assert not first.machine_token.secret_sha256
    listed = await people.identity(ANN).ListMachineTokens(ids.ListMachineTokensRequest())
    assert [each.token_id for each in listed.machine_tokens] == [stored.token_id]
    assert not listed.machine_tokens[0].secret_sha256
    with refused("REQUEST_ID_REUSED"):
        await create(people, request_id=request_id, permissions=[VIEW])


async def test_parallel_creations_with_one_request_id_make_one_token(people: People) -> None:
    request_id = new_request_id()
    made = await asyncio.gather(*(create(people, request_id=request_id) for _ in range(10)))
    assert len({each.secret for each in made}) == 1


async def test_a_changed_secret_is_refused(people: People) -> None:
    secret = (await create(people)).secret
    other = (await create(people, BOB)).secret
    spliced = secret[:56] + other[56:]
    for bad in (
        secret[:-1], secret + "a", secret.upper(), spliced, "wmt_", "wmt_" + "a" * 110,
        secret[:-1] + ("b" if secret[-1] == "a" else "a"),
    ):
        with refused("UNAUTHENTICATED"):
            await user_id(Robot(people.ws, bad))


async def test_a_right_checksum_alone_opens_nothing(people: People) -> None:
    from services.tokens.machine import MachineSecret

    good = MachineSecret.parse((await create(people)).secret)
    forged = MachineSecret(good.user_id, good.token_id, "a" * 52)
    unknown = MachineSecret.derive(b"k", good.user_id, "k_" + "a" * 26)
    for bad in (forged, unknown):
        with refused("UNAUTHENTICATED"):
            await user_id(Robot(people.ws, bad.text))


async def test_it_expires(people: People, monkeypatch: pytest.MonkeyPatch) -> None:
    made = await create(people, lifetime=Duration(seconds=60))
    lasting = await create(people)
    days = (lasting.machine_token.expires_at.seconds - lasting.machine_token.created_at.seconds)
    assert days == 90 * 24 * 3600
    authenticator: Any = people.ws.process._authenticator()
    actor, verifier = Robot(people.ws, made.secret), authenticator._machine
    end = made.machine_token.expires_at.ToNanoseconds() / 1e9
    monkeypatch.setattr(verifier, "_now", lambda: end - 0.001)
    assert await user_id(actor)
    monkeypatch.setattr(verifier, "_now", lambda: end + 0.001)
    with refused("UNAUTHENTICATED"):
        await user_id(actor)


async def test_the_list_filters_by_status_and_is_paged(people: People) -> None:
    ids_ = [(await create(people)).machine_token.token_id for _ in range(3)]
    mine = people.identity(ANN)
    await mine.RevokeMachineToken(ids.RevokeMachineTokenRequest(token_id=ids_[0]))
    active = await mine.ListMachineTokens(
        ids.ListMachineTokensRequest(status=mt.MACHINE_TOKEN_STATUS_ACTIVE, page_size=1)
    )
    rest = await mine.ListMachineTokens(
        ids.ListMachineTokensRequest(
            status=mt.MACHINE_TOKEN_STATUS_ACTIVE, page_size=1, page_token=active.next_page_token
        )
    )
    found = [each.token_id for page in (active, rest) for each in page.machine_tokens]
    assert sorted(found) == sorted(ids_[1:])
    with refused("INVALID_PAGE_TOKEN"):
        await people.identity(BOB).ListMachineTokens(
            ids.ListMachineTokensRequest(page_token=active.next_page_token)
        )


async def test_only_the_owner_and_a_platform_admin_list_and_revoke(people: People) -> None:
    made = await create(people)
    ann, token_id = await people.ws.sign_in(ANN), made.machine_token.token_id
    for call in (
        people.identity(BOB).ListMachineTokens(ids.ListMachineTokensRequest(user_id=ann)),
        people.identity(BOB).RevokeMachineToken(ids.RevokeMachineTokenRequest(token_id=token_id)),
        people.identity(BOB).RevokeMachineToken(ids.RevokeMachineTokenRequest(token_id="k_x")),
    ):
        with refused("PERMISSION_DENIED"):
            await call
    await people.bootstrap(BOB)
    listed = await people.identity(BOB).ListMachineTokens(
        ids.ListMachineTokensRequest(user_id=ann)
    )
    assert listed.machine_tokens[0].etag
    stale = ids.RevokeMachineTokenRequest(token_id=token_id, etag="x" * 20)
    with refused("ETAG_MISMATCH"):
        await people.identity(BOB).RevokeMachineToken(stale)
    request = ids.RevokeMachineTokenRequest(token_id=token_id, etag=listed.machine_tokens[0].etag)
    first = await people.identity(BOB).RevokeMachineToken(request)
    again = await people.identity(ANN).RevokeMachineToken(
        ids.RevokeMachineTokenRequest(token_id=token_id)
    )
    assert again.machine_token == first.machine_token  # changes nothing


async def test_the_scope_names_only_what_the_caller_reaches(people: People) -> None:
    account = await people.account(BOB)
    foreign = await project(people, BOB)
    for scope in ({"account_ids": [account]}, {"project_ids": [foreign]}):
        with refused("EXCEEDS_OWN_RIGHTS"):
            await create(people, ANN, **scope)
        assert (await create(people, BOB, **scope)).secret


async def test_at_most_a_hundred_are_active(people: People, monkeypatch: Any) -> None:
    monkeypatch.setattr("identity_svc.users.machine_tokens.MAX_ACTIVE", 2)
    first = await create(people)
    await create(people)
    with refused("LIMIT_EXCEEDED"):
        await create(people)
    await people.identity(ANN).RevokeMachineToken(
        ids.RevokeMachineTokenRequest(token_id=first.machine_token.token_id)
    )
    assert await create(people)


@pytest.mark.case("T54")
async def test_revoking_sessions_and_disabling_end_them(people: People) -> None:
    kept, ended = await robot(people), await robot(people, BOB)
    ann, bob = await people.ws.sign_in(ANN), await people.ws.sign_in(BOB)
    await people.identity(ANN).RevokeSessions(ids.RevokeSessionsRequest(user_id=ann))
    assert await user_id(kept) == ann  # not asked to include machine tokens
    await kept.identity.RevokeSessions(
        ids.RevokeSessionsRequest(user_id=ann, include_machine_tokens=True)
    )
    with refused("UNAUTHENTICATED"):
        await user_id(kept)
    people.ws._users.pop(ANN)
    await people.ws.sign_in(ANN)
    await people.bootstrap(ANN)
    await people.identity(ANN).DisableUser(ids.DisableUserRequest(user_id=bob))
    with refused("UNAUTHENTICATED"):
        await user_id(ended)


@pytest.mark.case("G04")
async def test_g04_no_token_makes_another_or_widens_itself(people: People) -> None:
    await people.bootstrap(ANN)
    bob = await people.ws.sign_in(BOB)
    shared = await project(people)
    for scope in ({}, {"permissions": [VIEW]}, {"project_ids": [shared]}):
        actor = await robot(people, **scope)
        for call in (
            actor.identity.CreateMachineToken(ids.CreateMachineTokenRequest(name="more")),
            actor.identity.LinkIdentity(ids.LinkIdentityRequest(other_token="x")),
            actor.identity.NormalizeIdentity(ids.NormalizeIdentityRequest()),
            actor.identity.DisableUser(ids.DisableUserRequest(user_id=bob)),
            actor.identity.GetUser(ids.GetUserRequest(user_id=bob)),
            actor.accounts.ListAllAccounts(acs.ListAllAccountsRequest()),
        ):
            with refused("PERMISSION_DENIED"):
                await call
        session = (await actor.identity.GetSession(ids.GetSessionRequest())).session
        assert not session.is_platform_admin


@pytest.mark.case("G04")
async def test_g04_a_cut_token_gives_no_more_than_it_has(people: People) -> None:
    shared, bob = await project(people), await people.ws.sign_in(BOB)
    actor = await robot(people, permissions=[MANAGE])

    def grant(permission: Any) -> Any:
        return actor.grants.CreateGrant(
            gs.CreateGrantRequest(
                project_id=shared, target_type=gr.GRANT_TARGET_TYPE_USER, target_id=bob,
                permissions=[permission],
            )
        )

    for permission in (WRITE, OWNER):
        with refused("EXCEEDS_OWN_RIGHTS"):
            await grant(permission)
    assert (await grant(VIEW)).grant.grant_id


async def test_permissions_are_capped_on_every_project(people: People) -> None:
    shared = await project(people)
    actor = await robot(people, permissions=[VIEW])
    got = (await actor.projects.GetProject(ps.GetProjectRequest(project_id=shared))).project
    assert list(got.my_permissions) == [VIEW]
    effective = await actor.permissions.GetEffectivePermissions(
        pms.GetEffectivePermissionsRequest(project_id=shared)
    )
    assert list(effective.effective_permissions.permissions) == [VIEW]
    for permission, allowed in ((VIEW, True), (WRITE, False), (OWNER, False)):
        one = await actor.permissions.CheckPermission(
            pms.CheckPermissionRequest(project_id=shared, permission=permission)
        )
        item = pms.CheckItem(project_id=shared, permission=permission)
        many = await actor.permissions.BatchCheckPermissions(
            pms.BatchCheckPermissionsRequest(items=[item])
        )
        assert one.allowed == many.results[0].result.allowed == allowed
    for call in (
        actor.projects.DeleteProject(ps.DeleteProjectRequest(project_id=shared)),
        actor.projects.CreateProject(ps.CreateProjectRequest(name="More")),
        actor.documents.CreateDocument(ds.CreateDocumentRequest(project_id=shared, name="a.txt")),
    ):
        with refused("PERMISSION_DENIED"):
            await call


async def test_projects_beyond_the_scope_are_as_if_they_were_not_there(people: People) -> None:
    inside, outside = await project(people), await project(people)
    actor = await robot(people, project_ids=[inside])
    listed = await actor.projects.ListProjects(ps.ListProjectsRequest())
    assert [each.project_id for each in listed.projects] == [inside]
    session = (await actor.identity.GetSession(ids.GetSessionRequest())).session
    assert [each.project_id for each in session.projects] == [inside]
    reached = await actor.permissions.ListAccessibleProjects(
        pms.ListAccessibleProjectsRequest(permission=VIEW)
    )
    assert inside in str(reached)
    assert outside not in str(reached)
    with refused("PERMISSION_DENIED"):
        await actor.projects.GetProject(ps.GetProjectRequest(project_id=outside))
    mine = people.ws.stub(ProjectServiceStub, as_=ANN)  # the person is not cut
    assert len((await mine.ListProjects(ps.ListProjectsRequest())).projects) == 2


async def test_accounts_and_teams_beyond_the_scope_are_out_of_reach(people: People) -> None:
    inside, outside = await people.account(ANN), await people.account(ANN)
    team = await people.team(ANN, account_id=outside)
    own = await people.team(ANN, account_id=inside)
    hidden = await project(people, account_id=outside)
    actor = await robot(people, account_ids=[inside])
    bob = await people.ws.sign_in(BOB)
    added = acs.AddAccountMemberRequest(account_id=inside, user_id=bob, role=EDITOR)
    assert await actor.accounts.AddAccountMember(added)
    added.account_id = outside
    for call in (
        actor.accounts.AddAccountMember(added),
        actor.accounts.GetAccount(acs.GetAccountRequest(account_id=outside)),
        actor.accounts.CreateAccount(acs.CreateAccountRequest(name="New", type="client_org")),
        actor.teams.GetTeam(tms.GetTeamRequest(team_id=team)),
        actor.teams.ArchiveTeam(tms.ArchiveTeamRequest(team_id=team)),
        actor.teams.ListTeamMembers(tms.ListTeamMembersRequest(team_id=team)),
        actor.projects.GetProject(ps.GetProjectRequest(project_id=hidden)),
    ):
        with refused("PERMISSION_DENIED"):
            await call
    accounts = await actor.accounts.ListAccounts(acs.ListAccountsRequest())
    assert [each.account_id for each in accounts.accounts] == [inside]
    teams = await actor.teams.ListTeams(tms.ListTeamsRequest())
    assert [each.team_id for each in teams.teams] == [own]
    session = (await actor.identity.GetSession(ids.GetSessionRequest())).session
    assert [each.account.account_id for each in session.accounts] == [inside]
    assert [each.team.team_id for each in session.teams] == [own]


async def test_a_token_cut_by_permissions_manages_no_account(people: People) -> None:
    account = await people.account(ANN)
    bob = await people.ws.sign_in(BOB)
    actor = await robot(people, permissions=[OWNER], account_ids=[account])
    with refused("PERMISSION_DENIED"):
        await actor.accounts.AddAccountMember(
            acs.AddAccountMemberRequest(account_id=account, user_id=bob, role=EDITOR)
        )


async def test_last_use_is_noted_to_the_hour_once(people: People) -> None:
    made = await create(people)
    actor = Robot(people.ws, made.secret)
    for _ in range(3):
        await user_id(actor)
    listed = await people.identity(ANN).ListMachineTokens(ids.ListMachineTokensRequest())
    assert listed.machine_tokens[0].last_used_at.seconds % 3600 == 0
    assert listed.machine_tokens[0].last_used_at.seconds > 0


@pytest.mark.case("Y02")
async def test_a_token_is_in_no_log(people: People, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    secret = (await create(people)).secret
    await user_id(Robot(people.ws, secret))
    with refused("UNAUTHENTICATED"):
        await user_id(Robot(people.ws, secret[:-1] + ("b" if secret[-1] == "a" else "a")))
    assert secret[56:108] not in caplog.text


async def test_whatever_a_scoped_token_may_its_user_may(people: People) -> None:
    """Metamorphic: every call that goes through with a scope goes through without."""
    account = await people.account(ANN)
    projects = [await project(people), await project(people, account_id=account)]
    person = Robot(people.ws, people.ws.token(ANN))
    scopes: list[dict[str, Any]] = [
        {}, {"permissions": [VIEW]}, {"permissions": [WRITE]}, {"project_ids": projects[:1]},
        {"account_ids": [account]}, {"permissions": [OWNER], "account_ids": [account]},
    ]
    allowed_at_all = 0
    for scope in scopes:
        actor = await robot(people, **scope)
        for project_id in projects:
            for permission in (VIEW, WRITE, MANAGE, OWNER):
                request = pms.CheckPermissionRequest(project_id=project_id, permission=permission)
                cut = (await actor.permissions.CheckPermission(request)).allowed
                full = (await person.permissions.CheckPermission(request)).allowed
                allowed_at_all += cut
                assert full or not cut
        seen = {
            each.project_id
            for each in (await actor.projects.ListProjects(ps.ListProjectsRequest())).projects
        }
        all_ = {
            each.project_id
            for each in (await person.projects.ListProjects(ps.ListProjectsRequest())).projects
        }
        assert seen <= all_
    assert allowed_at_all
