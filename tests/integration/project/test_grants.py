"""Grants: nobody gives what he does not hold, and an owner always stays."""

from __future__ import annotations

import asyncio
import time
from typing import Any

import pytest
from google.protobuf.timestamp_pb2 import Timestamp
from workspace.common.v1.permission_pb2 import Permission, PermissionPreset
from workspace.identity.v1.account_pb2 import AccountStatus
from workspace.identity.v1.team_pb2 import TeamStatus
from workspace.identity.v1.user_pb2 import UserStatus
from workspace.project.v1 import grant_service_pb2 as pb
from workspace.project.v1 import project_service_pb2 as projects
from workspace.project.v1.grant_pb2 import Grant, GrantStatus, GrantTargetType
from workspace.project.v1.project_pb2 import Project, ProjectStatus

from tests.integration.project.test_projects import create, get
from tests.integration.project.world import (
    ACCOUNT_SCOPE,
    Refused,
    Role,
    World,
    refused,
    request_id,
)

USER = GrantTargetType.GRANT_TARGET_TYPE_USER
TEAM = GrantTargetType.GRANT_TARGET_TYPE_TEAM
ACCOUNT = GrantTargetType.GRANT_TARGET_TYPE_ACCOUNT
OWNER = Permission.PERMISSION_OWNER


def rights(*names: str) -> list[int]:
    return [Permission.Value(f"PERMISSION_{name}") for name in names]


def in_seconds(seconds: float) -> Timestamp:
    return Timestamp(seconds=int(time.time() + seconds))


async def give(
    world: World, project: Project, giver: str, target: str, *names: str, **fields: Any
) -> Grant:
    if names:
        fields["permissions"] = rights(*names)
    request = pb.CreateGrantRequest(
        project_id=project.project_id,
        target_type=fields.pop("target_type", USER),
        target_id=target,
        **fields,
    )
    return (await world.grants(giver).CreateGrant(request)).grant


async def to_address(world: World, project: Project, giver: str, name: str) -> Any:
    request = pb.CreateGrantRequest(
        project_id=project.project_id,
        target_type=USER,
        target_email=f"{name}@example.com",
        permissions=rights("VIEW"),
    )
    return await world.grants(giver).CreateGrant(request)


async def change(
    world: World, grant: Grant, changer: str, paths: list[str], **fields: Any
) -> Grant:
    request = pb.UpdateGrantRequest(
        grant=Grant(grant_id=grant.grant_id, project_id=grant.project_id, **fields)
    )
    request.update_mask.paths.extend(paths)
    return (await world.grants(changer).UpdateGrant(request)).grant


async def revoke(world: World, grant: Grant, revoker: str, **fields: Any) -> Grant:
    request = pb.RevokeGrantRequest(project_id=grant.project_id, grant_id=grant.grant_id, **fields)
    return (await world.grants(revoker).RevokeGrant(request)).grant


async def owner_grant(world: World, project: Project, user_id: str) -> Grant:
    listed = await world.grants(user_id).ListGrants(
        pb.ListGrantsRequest(project_id=project.project_id)
    )
    return next(g for g in listed.grants if g.target_id == user_id)


@pytest.fixture
async def project(world: World) -> Project:
    """Ann's project in a_one; bob manages it, eve writes."""
    made = await create(world, "ann", account_id="a_one")
    await give(world, made, "ann", "bob", "MANAGE_ACCESS", "COMMENT")
    await give(world, made, "ann", "eve", "WRITE")
    return made


class TestCreate:
    async def test_gives_what_it_says(self, world: World, project: Project) -> None:
        grant = await give(world, project, "ann", "zoe", "REVIEW", note="for May")
        assert (grant.created_by, grant.note) == ("ann", "for May")
        assert grant.status == GrantStatus.GRANT_STATUS_ACTIVE
        seen = (await get(world, "zoe", project.project_id)).project
        assert list(seen.my_permissions) == rights("VIEW", "REVIEW")

    async def test_the_longest_note_fits(self, world: World, project: Project) -> None:
        note = "\U0001f600" * 4000
        grant = await give(world, project, "ann", "zoe", "VIEW", note=note)
        assert grant.note == note
        assert (await revoke(world, grant, "ann")).note == note

    async def test_a_preset_is_its_set(self, world: World, project: Project) -> None:
        grant = await give(
            world, project, "ann", "zoe", preset=PermissionPreset.PERMISSION_PRESET_WRITER
        )
        assert list(grant.permissions) == rights("VIEW", "COMMENT", "REVIEW", "WRITE")

    @pytest.mark.case("G01", "G06")
    async def test_without_manage_access_nothing_is_given(
        self, world: World, project: Project
    ) -> None:
        no = await refused(give(world, project, "eve", "zoe", "VIEW"))
        absent = Project(project_id="p_absent")
        other = await refused(give(world, absent, "eve", "zoe", "VIEW"))
        assert no.reason == other.reason == "PERMISSION_DENIED"

    @pytest.mark.case("G01")
    @pytest.mark.parametrize("name", ["WRITE", "REVIEW", "OWNER"])
    async def test_nobody_gives_what_he_does_not_hold(
        self, world: World, project: Project, name: str
    ) -> None:
        _share(world, "bob")
        no = await refused(give(world, project, "bob", "zoe", name))
        assert no.reason == "EXCEEDS_OWN_RIGHTS"
        assert (await give(world, project, "bob", "zoe", "COMMENT")).created_by == "bob"

    @pytest.mark.case("G02")
    async def test_nobody_gives_himself_anything(self, world: World) -> None:
        project = await create(world, "ann")
        managers = world.people.team("t_lead", "bob", scope=ACCOUNT_SCOPE, home="a_one")
        world.people.teams[managers].account_id = ""
        world.people.teams[managers].workspace_id = "w_ann"
        world.people.teams[managers].scope_type = 2
        await give(world, project, "ann", managers, "MANAGE_ACCESS", "WRITE", target_type=TEAM)
        no = await refused(give(world, project, "bob", "bob", "WRITE"))
        assert no.reason == "EXCEEDS_OWN_RIGHTS"

    @pytest.mark.case("G02")
    async def test_a_removed_grant_cannot_be_made_again_by_its_receiver(
        self, world: World, project: Project
    ) -> None:
        mine = await owner_grant_of(world, project, "bob")
        await revoke(world, mine, "ann")
        assert (await refused(give(world, project, "bob", "bob", "VIEW"))).reason == (
            "PERMISSION_DENIED"
        )

    async def test_an_owner_makes_owners_for_good(self, world: World, project: Project) -> None:
        no = await refused(give(world, project, "ann", "zoe", "OWNER", expires_at=in_seconds(60)))
        assert no.reason == "INVALID_FIELD"
        no = await refused(give(world, project, "ann", "t_one", "OWNER", target_type=TEAM))
        assert no.reason == "INVALID_FIELD"
        grant = await give(world, project, "ann", "zoe", "OWNER", "VIEW")
        assert list(grant.permissions) == [OWNER]

    @pytest.mark.case("G15")
    async def test_the_end_is_never_beyond_ones_own(self, world: World, project: Project) -> None:
        _share(world, "zoe")
        end = in_seconds(1000)
        await give(world, project, "ann", "zoe", "MANAGE_ACCESS", "WRITE", expires_at=end)
        world.people.user("max")
        later = Timestamp(seconds=end.seconds + 1)
        no = await refused(give(world, project, "zoe", "max", "VIEW", expires_at=later))
        assert no.reason == "EXCEEDS_OWN_RIGHTS"
        grant = await give(world, project, "zoe", "max", "VIEW")
        assert grant.expires_at == end
        no = await refused(change(world, grant, "zoe", ["expires_at"]))
        assert no.reason == "EXCEEDS_OWN_RIGHTS"
        no = await refused(change(world, grant, "zoe", ["expires_at"], expires_at=later))
        assert no.reason == "EXCEEDS_OWN_RIGHTS"
        sooner = Timestamp(seconds=end.seconds - 100)
        changed = await change(world, grant, "zoe", ["expires_at"], expires_at=sooner)
        assert changed.expires_at == sooner
        assert not (await change(world, grant, "ann", ["expires_at"])).HasField("expires_at")

    @pytest.mark.case("G15")
    async def test_a_grant_ends_at_its_time_by_server_time(
        self, world: World, project: Project
    ) -> None:
        no = await refused(give(world, project, "ann", "zoe", "VIEW", expires_at=in_seconds(-1)))
        assert (no.reason, no.metadata["field"]) == ("INVALID_FIELD", "expires_at")
        await give(world, project, "ann", "zoe", "VIEW", expires_at=in_seconds(1000))
        assert await get(world, "zoe", project.project_id)
        world.offset = 1001
        assert (await refused(get(world, "zoe", project.project_id))).reason == (
            "PERMISSION_DENIED"
        )
        # It is over: another one may be given.
        assert (await give(world, project, "ann", "zoe", "VIEW")).grant_id

    async def test_one_direct_grant_in_force_for_each_target(
        self, world: World, project: Project
    ) -> None:
        assert (await refused(give(world, project, "ann", "eve", "VIEW"))).reason == (
            "ALREADY_EXISTS"
        )
        made = await asyncio.gather(
            *(_outcome(give(world, project, "ann", "zoe", "VIEW")) for _ in range(8))
        )
        assert sorted(made) == ["ALREADY_EXISTS"] * 7 + ["made"]

    async def test_the_same_request_id_gives_once(self, world: World, project: Project) -> None:
        same = request_id()
        made = await asyncio.gather(
            *(give(world, project, "ann", "zoe", "VIEW", request_id=same) for _ in range(20))
        )
        assert len({grant.grant_id for grant in made}) == 1

    async def test_a_replay_answers_even_when_the_grant_is_over(
        self, world: World, project: Project
    ) -> None:
        fields = {"expires_at": in_seconds(100), "request_id": request_id()}
        grant = await give(world, project, "ann", "zoe", "VIEW", **fields)
        world.offset = 200
        assert await give(world, project, "ann", "zoe", "VIEW", **fields) == grant

    async def test_needs_an_active_project(self, world: World, project: Project) -> None:
        await world.projects("ann").SetProjectStatus(
            projects.SetProjectStatusRequest(
                project_id=project.project_id, status=ProjectStatus.PROJECT_STATUS_ARCHIVED
            )
        )
        no = await refused(give(world, project, "ann", "zoe", "VIEW"))
        assert (no.reason, no.metadata["state"]) == ("INVALID_STATE", "archived")
        # Taking away is possible in every state.
        await revoke(world, await owner_grant_of(world, project, "eve"), "ann")

    async def test_an_address_stands_for_its_user(self, world: World, project: Project) -> None:
        grant = (await to_address(world, project, "ann", "zoe")).grant
        assert grant.target_id == "zoe"
        no = await refused(to_address(world, project, "ann", "zoe"))
        assert no.reason == "ALREADY_EXISTS"
        no = await refused(to_address(world, project, "ann", "ann"))
        assert no.reason == "EXCEEDS_OWN_RIGHTS"

    async def test_an_unknown_address_is_told_to_those_who_may_share(
        self, world: World, project: Project
    ) -> None:
        no = await refused(to_address(world, project, "ann", "nobody"))
        assert (no.reason, no.metadata["resource"]) == ("NOT_FOUND", "users/?")
        assert "example.com" not in no.message

    @pytest.mark.parametrize("holds", [False, True])
    async def test_without_the_right_known_and_unknown_addresses_are_alike(
        self, world: World, project: Project, holds: bool
    ) -> None:
        """Without manage_access, and with it but without share_project."""
        answers = []
        for name in ("zoe", "nobody"):
            no = await refused(to_address(world, project, "bob" if holds else "eve", name))
            answers.append((no.reason, no.metadata, no.message))
        assert answers[0] == answers[1]
        wanted = "share_project" if holds else "manage_access"
        assert answers[0][1]["permission"] == wanted


class TestTargets:
    async def test_users_have_to_be_there_and_enabled(self, world: World, project: Project) -> None:
        world.people.users["zoe"] = UserStatus.USER_STATUS_DISABLED
        for user_id in ("zoe", "u_none"):
            no = await refused(give(world, project, "ann", user_id, "VIEW"))
            assert (no.reason, no.metadata["resource"]) == ("NOT_FOUND", f"users/{user_id}")

    async def test_outside_of_the_account_takes_share_project(
        self, world: World, project: Project
    ) -> None:
        no = await refused(give(world, project, "bob", "zoe", "VIEW"))
        assert (no.reason, no.metadata["permission"]) == ("PERMISSION_DENIED", "share_project")
        world.people.user("max")
        world.people.member("a_one", "max", Role.ACCOUNT_ROLE_VIEWER)
        assert await give(world, project, "bob", "max", "VIEW")  # inside of the account
        _share(world, "bob")
        assert await give(world, project, "bob", "zoe", "VIEW")

    async def test_a_private_project_is_shared_without_an_account(self, world: World) -> None:
        private = await create(world, "ann")
        await give(world, private, "ann", "bob", "MANAGE_ACCESS")
        assert await give(world, private, "bob", "zoe", "VIEW")

    async def test_own_teams_and_accounts_get_grants(self, world: World, project: Project) -> None:
        await give(world, project, "ann", "t_one", "WRITE", target_type=TEAM)
        await give(world, project, "ann", "a_one", "VIEW", target_type=ACCOUNT)
        world.people.user("max")
        world.people.member("a_one", "max", Role.ACCOUNT_ROLE_VIEWER)
        assert (await get(world, "max", project.project_id)).project.name == "Plan"

    @pytest.mark.case("G03")
    async def test_foreign_teams_and_accounts_have_to_be_invited(
        self, world: World, project: Project
    ) -> None:
        for target, kind in (("t_free", TEAM), ("t_ann", TEAM), ("a_two", ACCOUNT)):
            no = await refused(give(world, project, "ann", target, "VIEW", target_type=kind))
            assert (no.reason, no.metadata["state"]) == ("INVALID_STATE", "foreign")
            assert "CreateInvitation" in no.message
            no = await refused(give(world, project, "bob", target, "VIEW", target_type=kind))
            assert (no.reason, no.metadata["permission"]) == ("PERMISSION_DENIED", "share_project")

    async def test_inactive_targets_do_not_fit(self, world: World, project: Project) -> None:
        world.people.teams["t_one"].status = TeamStatus.TEAM_STATUS_ARCHIVED
        world.people.accounts["a_two"].status = AccountStatus.ACCOUNT_STATUS_ARCHIVED
        for target, kind in (("t_one", TEAM), ("t_none", TEAM), ("a_two", ACCOUNT)):
            no = await refused(give(world, project, "ann", target, "VIEW", target_type=kind))
            assert no.reason == "NOT_FOUND"


class TestUpdate:
    async def test_changes_rights_and_note(self, world: World, project: Project) -> None:
        grant = await owner_grant_of(world, project, "eve")
        changed = await change(
            world, grant, "ann", ["permissions", "note"], permissions=rights("REVIEW"), note="n"
        )
        assert (list(changed.permissions), changed.note) == (rights("REVIEW"), "n")
        assert changed.updated_by == "ann"
        seen = (await get(world, "eve", project.project_id)).project
        assert list(seen.my_permissions) == rights("VIEW", "REVIEW")

    @pytest.mark.case("Z11")
    async def test_server_set_fields_are_refused(self, world: World, project: Project) -> None:
        grant = await owner_grant_of(world, project, "eve")
        for field in ("target_id", "status", "source", "created_by"):
            no = await refused(change(world, grant, "ann", [field]))
            assert (no.reason, no.metadata["field"]) == ("INVALID_MASK", field)

    @pytest.mark.case("G01")
    async def test_no_more_than_the_changer_holds_before_and_after(
        self, world: World, project: Project
    ) -> None:
        eves = await owner_grant_of(world, project, "eve")
        # eve holds write, bob does not: he can neither lower nor raise it.
        no = await refused(change(world, eves, "bob", ["permissions"], permissions=rights("VIEW")))
        assert (no.reason, no.metadata["permission"]) == ("EXCEEDS_OWN_RIGHTS", "write")
        _share(world, "bob")
        zoes = await give(world, project, "bob", "zoe", "VIEW")
        no = await refused(
            change(world, zoes, "bob", ["permissions"], permissions=rights("REVIEW"))
        )
        assert no.reason == "EXCEEDS_OWN_RIGHTS"

    @pytest.mark.case("G02")
    async def test_nobody_raises_his_own_grant(self, world: World, project: Project) -> None:
        managers = "a_one"
        await give(world, project, "ann", managers, "MANAGE_ACCESS", "REVIEW", target_type=ACCOUNT)
        world.people.member("a_one", "bob", Role.ACCOUNT_ROLE_VIEWER)
        bobs = await owner_grant_of(world, project, "bob")
        more = rights("MANAGE_ACCESS", "COMMENT", "REVIEW")
        no = await refused(change(world, bobs, "bob", ["permissions"], permissions=more))
        assert no.reason == "EXCEEDS_OWN_RIGHTS"
        less = await change(
            world, bobs, "bob", ["permissions"], permissions=rights("MANAGE_ACCESS")
        )
        assert list(less.permissions) == rights("MANAGE_ACCESS")

    @pytest.mark.case("G03")
    async def test_owner_never_goes_to_a_team_or_expires(
        self, world: World, project: Project
    ) -> None:
        team = await give(world, project, "ann", "t_one", "VIEW", target_type=TEAM)
        no = await refused(change(world, team, "ann", ["permissions"], permissions=[OWNER]))
        assert (no.reason, no.metadata["field"]) == ("INVALID_FIELD", "permissions")
        mine = await owner_grant_of(world, project, "ann")
        no = await refused(change(world, mine, "ann", ["expires_at"], expires_at=in_seconds(9)))
        assert (no.reason, no.metadata["field"]) == ("INVALID_FIELD", "expires_at")

    async def test_a_revoked_or_unknown_grant(self, world: World, project: Project) -> None:
        grant = await owner_grant_of(world, project, "eve")
        await revoke(world, grant, "ann")
        no = await refused(change(world, grant, "ann", ["note"], note="n"))
        assert (no.reason, no.metadata["state"]) == ("INVALID_STATE", "revoked")
        grant.grant_id = "g_none"
        assert (await refused(change(world, grant, "ann", ["note"]))).reason == "NOT_FOUND"
        assert (await refused(change(world, grant, "eve", ["note"]))).reason == "PERMISSION_DENIED"

    async def test_an_outdated_etag(self, world: World, project: Project) -> None:
        grant = await owner_grant_of(world, project, "eve")
        await change(world, grant, "ann", ["note"], note="n", etag=grant.etag)
        no = await refused(change(world, grant, "ann", ["note"], note="m", etag=grant.etag))
        assert no.reason == "ETAG_MISMATCH"


class TestRevoke:
    async def test_ends_at_once_and_stays_as_history(self, world: World, project: Project) -> None:
        grant = await owner_grant_of(world, project, "eve")
        same = request_id()
        ended = await revoke(world, grant, "ann", request_id=same)
        assert ended.status == GrantStatus.GRANT_STATUS_REVOKED
        assert ended.revoked_by == "ann"
        assert (await refused(get(world, "eve", project.project_id))).reason == "PERMISSION_DENIED"
        assert await revoke(world, grant, "ann", request_id=same) == ended
        assert (await refused(revoke(world, grant, "ann"))).reason == "INVALID_STATE"
        history = await world.grants("ann").ListGrants(
            pb.ListGrantsRequest(
                project_id=project.project_id, status=GrantStatus.GRANT_STATUS_REVOKED
            )
        )
        assert [g.grant_id for g in history.grants] == [grant.grant_id]

    async def test_ones_own_needs_no_right(self, world: World, project: Project) -> None:
        grant = await owner_grant_of(world, project, "eve")
        bobs = await owner_grant_of(world, project, "bob")
        assert (await refused(revoke(world, bobs, "eve"))).reason == "PERMISSION_DENIED"
        same = request_id()
        ended = await revoke(world, grant, "eve", request_id=same)
        assert ended.revoked_by == "eve"
        assert await revoke(world, grant, "eve", request_id=same) == ended

    async def test_not_more_than_one_holds(self, world: World, project: Project) -> None:
        for user_id, missing in (("eve", "write"), ("ann", "review")):
            grant = await owner_grant_of(world, project, user_id)
            no = await refused(revoke(world, grant, "bob"))
            assert (no.reason, no.metadata["permission"]) == ("EXCEEDS_OWN_RIGHTS", missing)

    async def test_an_unknown_grant(self, world: World, project: Project) -> None:
        grant = Grant(project_id=project.project_id, grant_id="g_none")
        assert (await refused(revoke(world, grant, "ann"))).reason == "NOT_FOUND"
        assert (await refused(revoke(world, grant, "eve"))).reason == "PERMISSION_DENIED"


class TestLastOwner:
    @pytest.mark.case("G07")
    async def test_the_last_one_is_neither_revoked_nor_demoted(
        self, world: World, project: Project
    ) -> None:
        mine = await owner_grant_of(world, project, "ann")
        resource = {"resource": f"projects/{project.project_id}"}
        no = await refused(revoke(world, mine, "ann"))
        assert (no.reason, no.metadata) == ("LAST_OWNER", resource)
        no = await refused(change(world, mine, "ann", ["permissions"], permissions=rights("VIEW")))
        assert (no.reason, no.metadata) == ("LAST_OWNER", resource)
        zoes = await give(world, project, "ann", "zoe", "OWNER")
        world.people.users["zoe"] = UserStatus.USER_STATUS_DISABLED
        assert (await refused(revoke(world, mine, "ann"))).reason == "LAST_OWNER"
        world.people.users["zoe"] = UserStatus.USER_STATUS_ACTIVE
        await revoke(world, mine, "ann")
        assert (await refused(revoke(world, zoes, "zoe"))).reason == "LAST_OWNER"

    @pytest.fixture
    def without_head(self, world: World, monkeypatch: pytest.MonkeyPatch) -> None:
        """What the store does when the deciding head is left out."""
        commit = world.records.commit

        async def careless(pk: str, writes: Any, **more: Any) -> Any:
            more.pop("if_head", None)
            return await commit(pk, writes, **more)

        monkeypatch.setattr(world.records, "commit", careless)

    async def _race(self, world: World, project: Project) -> list[str]:
        """Two owners remove each other, each having seen the other."""
        anns = await owner_grant(world, project, "ann")
        zoes = await give(world, project, "ann", "zoe", "OWNER")
        barrier = asyncio.Barrier(2)
        commit, waited = world.records.commit, set()

        async def together(pk: str, writes: Any, **more: Any) -> Any:
            task = asyncio.current_task()
            if task not in waited:
                waited.add(task)
                await barrier.wait()
            return await commit(pk, writes, **more)

        world.records.commit = together  # type: ignore[method-assign]
        try:
            return sorted(
                await asyncio.gather(
                    _outcome(revoke(world, zoes, "ann")), _outcome(revoke(world, anns, "zoe"))
                )
            )
        finally:
            world.records.commit = commit  # type: ignore[method-assign]

    @pytest.mark.case("G08")
    async def test_two_owners_remove_each_other_and_one_stays(
        self, world: World, project: Project
    ) -> None:
        made, refusal = await self._race(world, project), "PERMISSION_DENIED"
        assert made == [refusal, "made"]

    @pytest.mark.case("G08")
    @pytest.mark.usefixtures("without_head")
    async def test_without_the_head_none_would_stay(self, world: World, project: Project) -> None:
        assert await self._race(world, project) == ["made", "made"]


class TestList:
    @pytest.mark.case("G18")
    async def test_pages_hold_everything_once(self, world: World, project: Project) -> None:
        world.people.team("t_more", scope=ACCOUNT_SCOPE, home="a_one")
        await give(world, project, "ann", "t_more", "VIEW", target_type=TEAM)
        for size in (1, 2, 3, 4, 5, 500):
            seen: list[str] = []
            token = ""
            while True:
                page = await world.grants("bob").ListGrants(
                    pb.ListGrantsRequest(
                        project_id=project.project_id, page_size=size, page_token=token
                    )
                )
                seen += [grant.target_id for grant in page.grants]
                token = page.next_page_token
                if not token:
                    break
            assert sorted(seen) == ["ann", "bob", "eve", "t_more"]
        teams = await world.grants("bob").ListGrants(
            pb.ListGrantsRequest(project_id=project.project_id, target_type=TEAM)
        )
        assert [grant.target_id for grant in teams.grants] == ["t_more"]

    async def test_needs_manage_access_and_the_callers_own_token(
        self, world: World, project: Project
    ) -> None:
        request = pb.ListGrantsRequest(project_id=project.project_id, page_size=1)
        no = await refused(world.grants("eve").ListGrants(request))
        assert no.reason == "PERMISSION_DENIED"
        page = await world.grants("bob").ListGrants(request)
        request.page_token = page.next_page_token
        assert (await refused(world.grants("ann").ListGrants(request))).reason == (
            "INVALID_PAGE_TOKEN"
        )


def _share(world: World, user_id: str) -> None:
    """Make the user an account member who may share."""
    world.people.member("a_one", user_id, Role.ACCOUNT_ROLE_VIEWER, permissions=[5])


async def owner_grant_of(world: World, project: Project, user_id: str) -> Grant:
    listed = await world.grants("ann").ListGrants(
        pb.ListGrantsRequest(project_id=project.project_id)
    )
    return next(g for g in listed.grants if g.target_id == user_id)


async def _outcome(call: Any) -> str:
    try:
        await call
    except Exception as error:
        return Refused(error).reason  # type: ignore[arg-type]
    return "made"
