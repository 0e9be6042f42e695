"""Moving projects between workspaces, teams and accounts."""

from __future__ import annotations

from typing import Any

import pytest
from workspace.common.v1.classification_pb2 import Classification
from workspace.identity.v1.account_pb2 import AccountStatus
from workspace.identity.v1.team_pb2 import TeamStatus
from workspace.project.v1 import grant_service_pb2 as grants
from workspace.project.v1 import project_service_pb2 as pb
from workspace.project.v1.grant_pb2 import GrantSource
from workspace.project.v1.project_pb2 import Project, ProjectStatus

from services.model.permissions import VIEW
from tests.integration.project.test_grants import (
    ACCOUNT,
    TEAM,
    give,
    owner_grant_of,
    rights,
)
from tests.integration.project.test_projects import create, get, list_all
from tests.integration.project.world import (
    ACCOUNT_SCOPE,
    Role,
    World,
    refused,
    request_id,
)


async def assign(world: World, user_id: str, project: Project, **target: Any) -> Any:
    return await world.projects(user_id).AssignProject(
        pb.AssignProjectRequest(project_id=project.project_id, **target)
    )


async def live_targets(world: World, project: Project) -> dict[str, str]:
    listed = await world.grants("ann").ListGrants(
        grants.ListGrantsRequest(project_id=project.project_id)
    )
    return {grant.target_id: grant.grant_id for grant in listed.grants}


class TestTargets:
    async def test_to_an_account_it_starts_restricted(self, world: World) -> None:
        project = await create(world, "ann")
        moved = (await assign(world, "ann", project, account_id="a_one")).project
        assert (moved.account_id, moved.workspace_id, moved.team_id) == ("a_one", "", "")
        assert moved.restricted
        assert (await refused(get(world, "eve", project.project_id))).reason == "PERMISSION_DENIED"
        assert await list_all(world, "ann", account_id="a_one") == [project.project_id]
        assert await list_all(world, "ann", workspace_id="w_ann") == []

    async def test_to_an_account_open_when_asked(self, world: World) -> None:
        project = await create(world, "ann")
        moved = await assign(world, "ann", project, account_id="a_one", restricted=False)
        assert not moved.project.restricted
        assert await get(world, "eve", project.project_id)

    async def test_to_an_account_team_which_brings_its_home(self, world: World) -> None:
        project = await create(world, "ann")
        moved = await assign(world, "ann", project, team_id="t_one")
        assert (moved.project.account_id, moved.project.team_id) == ("a_one", "t_one")
        assert moved.project.restricted
        (grant,) = moved.added_grants
        assert (grant.source, grant.target_id) == (GrantSource.GRANT_SOURCE_ASSIGNMENT, "t_one")
        assert list(grant.permissions) == rights("VIEW", "COMMENT", "REVIEW", "WRITE")
        seen = (await get(world, "eve", project.project_id)).project
        assert list(seen.my_permissions) == rights("VIEW", "COMMENT", "REVIEW", "WRITE")

    async def test_a_standalone_team_keeps_the_home(self, world: World) -> None:
        project = await create(world, "ann", account_id="a_one", restricted=False)
        moved = (await assign(world, "ann", project, team_id="t_free")).project
        assert (moved.account_id, moved.team_id, moved.restricted) == ("a_one", "t_free", False)
        assert await get(world, "bob", project.project_id)

    async def test_less_for_the_team_when_asked(self, world: World) -> None:
        project = await create(world, "ann")
        moved = await assign(world, "ann", project, team_id="t_ann", team_permissions=[VIEW])
        assert list(moved.added_grants[0].permissions) == rights("VIEW")
        assert moved.project.workspace_id == "w_ann"
        # The same team again changes nothing; with other rights it is given anew.
        again = await assign(world, "ann", project, team_id="t_ann")
        assert (list(again.added_grants), list(again.revoked_grant_ids)) == ([], [])
        more = await assign(
            world, "ann", project, team_id="t_ann", team_permissions=rights("VIEW", "WRITE")
        )
        assert list(more.revoked_grant_ids) == [moved.added_grants[0].grant_id]
        assert list(more.added_grants[0].permissions) == rights("VIEW", "WRITE")

    @pytest.mark.parametrize("name", ["MANAGE_ACCESS", "OWNER"])
    async def test_never_manage_access_or_owner_for_a_team(self, world: World, name: str) -> None:
        project = await create(world, "ann")
        no = await refused(
            assign(world, "ann", project, team_id="t_ann", team_permissions=rights(name))
        )
        assert no.reason == "INVALID_FIELD"

    async def test_leaving_a_team_revokes_exactly_its_assignment(self, world: World) -> None:
        project = await create(world, "ann", team_id="t_ann")
        direct = await give(world, project, "ann", "t_ann", "VIEW", target_type=TEAM)
        before = await world.grants("ann").ListGrants(
            grants.ListGrantsRequest(project_id=project.project_id)
        )
        assignment = next(g for g in before.grants if g.source == 3)
        moved = await assign(world, "ann", project, team_id="t_free")
        assert list(moved.revoked_grant_ids) == [assignment.grant_id]
        assert (await live_targets(world, project))["t_ann"] == direct.grant_id
        home = await assign(world, "ann", project, workspace_id="w_ann")
        assert home.project.team_id == ""
        assert "t_free" not in await live_targets(world, project)

    async def test_one_commit(self, world: World) -> None:
        project = await create(world, "ann", team_id="t_ann")
        before = await world.records.head(f"PROJECT#{project.project_id}")
        await assign(world, "ann", project, team_id="t_one")
        after = await world.records.head(f"PROJECT#{project.project_id}")
        assert after.pseq == before.pseq + 1


class TestRights:
    @pytest.mark.case("Z04", "G17")
    async def test_only_an_owner_moves(self, world: World) -> None:
        project = await create(world, "ann")
        await give(world, project, "ann", "bob", "MANAGE_ACCESS", "WRITE")
        no = await refused(assign(world, "bob", project, workspace_id="w_bob"))
        absent = await refused(assign(world, "zoe", project, workspace_id="w_zoe"))
        assert no.reason == absent.reason == "PERMISSION_DENIED"

    @pytest.mark.case("Z04", "G17")
    async def test_entering_needs_create_project_there(self, world: World) -> None:
        project = await create(world, "bob")
        for target in ({"account_id": "a_one"}, {"workspace_id": "w_ann"}, {"account_id": "a_x"}):
            no = await refused(assign(world, "bob", project, **target))
            assert (no.reason, no.metadata["permission"]) == ("PERMISSION_DENIED", "create_project")
        no = await refused(assign(world, "bob", project, team_id="t_ann"))
        assert no.metadata["permission"] == "create_project"  # a member, not the owner of w_ann
        no = await refused(assign(world, "bob", project, team_id="t_one"))
        none = await refused(assign(world, "bob", project, team_id="t_none"))
        assert no.reason == none.reason == "PERMISSION_DENIED"
        assert no.metadata["permission"] == none.metadata["permission"] == "view"

    @pytest.mark.case("G17")
    async def test_leaving_an_account_needs_manage_account(self, world: World) -> None:
        project = await create(world, "eve", account_id="a_one")
        no = await refused(assign(world, "eve", project, workspace_id="w_eve"))
        assert (no.reason, no.metadata["permission"]) == ("PERMISSION_DENIED", "manage_account")
        within = await assign(world, "eve", project, team_id="t_one")
        assert within.project.team_id == "t_one"
        world.people.member("a_one", "eve", Role.ACCOUNT_ROLE_ACCOUNT_ADMIN)
        moved = await assign(world, "eve", project, workspace_id="w_eve")
        assert moved.project.workspace_id == "w_eve"

    async def test_accounts_and_teams_have_to_be_active(self, world: World) -> None:
        project = await create(world, "ann")
        world.people.accounts["a_one"].status = AccountStatus.ACCOUNT_STATUS_SUSPENDED
        no = await refused(assign(world, "ann", project, account_id="a_one"))
        assert (no.reason, no.metadata["state"]) == ("INVALID_STATE", "suspended")
        world.people.teams["t_ann"].status = TeamStatus.TEAM_STATUS_ARCHIVED
        no = await refused(assign(world, "ann", project, team_id="t_ann"))
        assert (no.reason, no.metadata["state"]) == ("INVALID_STATE", "archived")

    async def test_the_classification_is_never_lowered(self, world: World) -> None:
        confidential = Classification.CLASSIFICATION_CONFIDENTIAL
        project = await create(world, "ann", data_classification=confidential)
        no = await refused(assign(world, "ann", project, account_id="a_one"))
        assert (no.reason, no.metadata) == (
            "CLASSIFICATION_LOWERED",
            {"from": "confidential", "to": "internal"},
        )
        world.people.accounts["a_one"].data_classification = confidential
        assert (await assign(world, "ann", project, account_id="a_one")).project.account_id

    async def test_a_hold_is_not_evaded_by_a_move(self, world: World) -> None:
        project = await create(world, "ann", account_id="a_one")
        world.people.accounts["a_one"].legal_hold = True
        no = await refused(assign(world, "ann", project, workspace_id="w_ann"))
        assert (no.reason, no.metadata["resource"]) == ("HELD", "accounts/a_one")

    async def test_state_etag_and_target(self, world: World) -> None:
        project = await create(world, "ann")
        no = await refused(assign(world, "ann", project, workspace_id="w_ann", etag='"old"'))
        assert no.reason == "ETAG_MISMATCH"
        assert (await refused(assign(world, "ann", project))).reason == "INVALID_FIELD"
        await world.projects("ann").SetProjectStatus(
            pb.SetProjectStatusRequest(
                project_id=project.project_id, status=ProjectStatus.PROJECT_STATUS_ARCHIVED
            )
        )
        no = await refused(assign(world, "ann", project, account_id="a_one"))
        assert no.reason == "INVALID_STATE"


class TestCrossAccount:
    @pytest.fixture
    async def project(self, world: World) -> Project:
        """A project of a_one with grants of every kind."""
        world.people.team("t_side", scope=ACCOUNT_SCOPE, home="a_one")
        made = await create(world, "ann", account_id="a_one", team_id="t_one")
        await give(world, made, "ann", "a_one", "VIEW", target_type=ACCOUNT)
        await give(world, made, "ann", "t_side", "VIEW", target_type=TEAM)
        await give(world, made, "ann", "bob", "VIEW")
        return made

    async def test_the_source_account_and_its_teams_lose_their_grants(
        self, world: World, project: Project
    ) -> None:
        moved = await assign(world, "ann", project, account_id="a_two")
        assert len(moved.revoked_grant_ids) == 3
        assert set(await live_targets(world, project)) == {"ann", "bob"}
        assert (await refused(get(world, "eve", project.project_id))).reason == "PERMISSION_DENIED"
        assert await get(world, "bob", project.project_id)

    async def test_but_for_those_that_are_kept(self, world: World, project: Project) -> None:
        side = (await live_targets(world, project))["t_side"]
        await assign(world, "ann", project, account_id="a_two", keep_grants=[side])
        assert set(await live_targets(world, project)) == {"ann", "bob", "t_side"}

    async def test_only_what_would_go_can_be_kept(self, world: World, project: Project) -> None:
        targets = await live_targets(world, project)
        for kept in (targets["bob"], targets["t_one"], "g_none"):
            no = await refused(
                assign(world, "ann", project, account_id="a_two", keep_grants=[kept])
            )
            assert (no.reason, no.metadata["field"]) == ("INVALID_FIELD", "keep_grants")

    async def test_within_the_account_they_stay(self, world: World, project: Project) -> None:
        moved = await assign(world, "ann", project, account_id="a_one")
        assert len(moved.revoked_grant_ids) == 1
        assert set(await live_targets(world, project)) == {"ann", "bob", "a_one", "t_side"}

    async def test_a_repeat_gives_the_same_answer(self, world: World, project: Project) -> None:
        same = request_id()
        first = await assign(world, "ann", project, account_id="a_two", request_id=same)
        again = await assign(world, "ann", project, account_id="a_two", request_id=same)
        assert first.project == again.project
        assert list(first.revoked_grant_ids) == list(again.revoked_grant_ids)

    async def test_a_grant_made_meanwhile_is_not_missed(
        self, world: World, project: Project, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        commit, late = world.records.commit, []

        async def with_a_late_grant(pk: str, writes: Any, **more: Any) -> Any:
            if not late:
                late.append("t_late")
                world.people.team("t_late", scope=ACCOUNT_SCOPE, home="a_one")
                await give(world, project, "ann", "t_late", "VIEW", target_type=TEAM)
            return await commit(pk, writes, **more)

        monkeypatch.setattr(world.records, "commit", with_a_late_grant)
        await assign(world, "ann", project, account_id="a_two")
        assert set(await live_targets(world, project)) == {"ann", "bob"}

    async def test_more_grants_than_one_commit_takes(
        self, world: World, project: Project, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("project_svc.projects.assignment._MOST_REVOKED", 2)
        no = await refused(assign(world, "ann", project, account_id="a_two"))
        assert (no.reason, no.metadata) == (
            "LIMIT_EXCEEDED",
            {"limit": "revoked_grants", "maximum": "2"},
        )
        assert (await owner_grant_of(world, project, "bob")).grant_id
