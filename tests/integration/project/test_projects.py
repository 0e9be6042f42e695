"""Projects: creating, reading, changing, archiving, the trash, legal holds."""

from __future__ import annotations

import asyncio

import pytest
from workspace.common.v1.classification_pb2 import Classification
from workspace.common.v1.permission_pb2 import Permission
from workspace.common.v1.visibility_pb2 import Visibility
from workspace.identity.v1.account_pb2 import AccountStatus, MemberStatus
from workspace.identity.v1.team_pb2 import TeamStatus
from workspace.project.v1 import grant_service_pb2 as grants
from workspace.project.v1 import project_service_pb2 as pb
from workspace.project.v1.document_pb2 import Document, DocumentStatus
from workspace.project.v1.grant_pb2 import GrantSource, GrantTargetType
from workspace.project.v1.project_pb2 import Project, ProjectStatus

from services.model.families import FAMILIES
from services.model.indexes import Index
from services.records.record import Activity, Write
from tests.integration.project.world import Refused, Role, World, refused, request_id

PERMISSIONS = list(Permission.values())[1:]


async def create(world: World, user_id: str, **fields: object) -> Project:
    fields.setdefault("name", "Plan")
    answer = await world.projects(user_id).CreateProject(pb.CreateProjectRequest(**fields))
    return answer.project


async def give(world: World, project: Project, user_id: str, *permissions: str) -> str:
    answer = await world.grants("ann").CreateGrant(
        grants.CreateGrantRequest(
            project_id=project.project_id,
            target_type=GrantTargetType.GRANT_TARGET_TYPE_USER,
            target_id=user_id,
            permissions=[Permission.Value(f"PERMISSION_{p}") for p in permissions],
        )
    )
    return answer.grant.grant_id


def get(world: World, user_id: str, project_id: str) -> object:
    return world.projects(user_id).GetProject(pb.GetProjectRequest(project_id=project_id))


class TestCreate:
    async def test_without_a_home_it_lands_in_the_own_workspace_with_an_owner_grant(
        self, world: World
    ) -> None:
        project = await create(world, "ann")
        assert (project.account_id, project.workspace_id) == ("", "w_ann")
        assert project.restricted is False
        assert project.visibility == Visibility.VISIBILITY_PRIVATE
        assert project.status == ProjectStatus.PROJECT_STATUS_ACTIVE
        assert list(project.my_permissions) == PERMISSIONS
        assert project.etag
        listed = await world.grants("ann").ListGrants(
            grants.ListGrantsRequest(project_id=project.project_id)
        )
        (owner,) = listed.grants
        assert owner.source == GrantSource.GRANT_SOURCE_OWNER_DEFAULT
        assert (owner.target_id, list(owner.permissions)) == (
            "ann",
            [Permission.PERMISSION_OWNER],
        )

    async def test_project_and_owner_grant_are_one_commit(self, world: World) -> None:
        project = await create(world, "ann")
        head = await world.records.head(f"PROJECT#{project.project_id}")
        assert head.pseq == 1

    @pytest.mark.parametrize(
        ("visibility", "restricted"),
        [
            (Visibility.VISIBILITY_ACCOUNT, False),
            (Visibility.VISIBILITY_TEAM, True),
            (Visibility.VISIBILITY_PRIVATE, True),
        ],
    )
    async def test_the_account_decides_whether_it_starts_restricted(
        self, world: World, visibility: int, restricted: bool
    ) -> None:
        world.people.accounts["a_one"].default_project_visibility = visibility
        project = await create(world, "ann", account_id="a_one")
        assert project.restricted is restricted
        assert project.visibility == visibility
        assert project.data_classification == Classification.CLASSIFICATION_INTERNAL
        other = await create(world, "ann", account_id="a_one", restricted=not restricted)
        assert other.restricted is not restricted

    async def test_needs_create_project_in_the_account(self, world: World) -> None:
        created = await create(world, "eve", account_id="a_one")
        assert created.account_id == "a_one"
        for user_id, account_id in (("bob", "a_one"), ("eve", "a_two"), ("eve", "a_none")):
            no = await refused(create(world, user_id, account_id=account_id))
            assert no.reason == "PERMISSION_DENIED"
            assert no.metadata == {
                "permission": "create_project",
                "resource": f"accounts/{account_id}",
            }

    async def test_the_workspace_of_another_is_denied(self, world: World) -> None:
        no = await refused(create(world, "bob", workspace_id="w_ann"))
        assert no.reason == "PERMISSION_DENIED"

    async def test_a_home_of_the_wrong_kind_is_named(self, world: World) -> None:
        no = await refused(create(world, "ann", account_id="w_ann"))
        assert (no.reason, no.metadata["field"]) == ("INVALID_FIELD", "account_id")
        no = await refused(create(world, "ann", workspace_id="a_one"))
        assert (no.reason, no.metadata["field"]) == ("INVALID_FIELD", "workspace_id")

    async def test_an_inactive_account_takes_no_project(self, world: World) -> None:
        world.people.accounts["a_one"].status = AccountStatus.ACCOUNT_STATUS_ARCHIVED
        no = await refused(create(world, "ann", account_id="a_one"))
        assert (no.reason, no.metadata["state"]) == ("INVALID_STATE", "archived")

    async def test_a_team_gets_its_grant_in_the_same_commit(self, world: World) -> None:
        project = await create(world, "ann", account_id="a_one", team_id="t_one")
        seen = (await get(world, "eve", project.project_id)).project
        assert list(seen.my_permissions) == PERMISSIONS[:4]
        assert (await world.records.head(f"PROJECT#{project.project_id}")).pseq == 1

    async def test_a_team_of_another_home_is_refused(self, world: World) -> None:
        no = await refused(create(world, "ann", account_id="a_two", team_id="t_ann"))
        assert (no.reason, no.metadata["resource"]) == ("INVALID_STATE", "teams/t_ann")
        world.people.teams["t_one"].status = TeamStatus.TEAM_STATUS_ARCHIVED
        no = await refused(create(world, "ann", account_id="a_one", team_id="t_one"))
        assert (no.reason, no.metadata["state"]) == ("INVALID_STATE", "archived")
        no = await refused(create(world, "zoe", team_id="t_free"))
        absent = await refused(create(world, "zoe", team_id="t_none"))
        assert no.reason == absent.reason == "PERMISSION_DENIED"

    async def test_the_same_request_id_creates_once(self, world: World) -> None:
        same = request_id()
        made = await asyncio.gather(
            *(create(world, "ann", request_id=same, team_id="t_ann") for _ in range(20))
        )
        assert len({project.SerializeToString(deterministic=True) for project in made}) == 1
        no = await refused(create(world, "ann", request_id=same, name="Other"))
        assert no.reason == "REQUEST_ID_REUSED"

    async def test_the_largest_texts_are_answered_whole_again_and_again(self, world: World) -> None:
        same, face = request_id(), "\U0001f600"
        fields = {"name": face * 200, "description": face * 4000, "request_id": same}
        first = await create(world, "ann", **fields)
        assert first == await create(world, "ann", **fields)
        assert first.description == face * 4000
        held = await world.projects("ann").SetLegalHold(
            pb.SetLegalHoldRequest(
                project_id=first.project_id, legal_hold=True, reason=face * 4000, request_id=same
            )
        )
        assert held.project.legal_hold_reason == face * 4000
        moved = await world.projects("ann").AssignProject(
            pb.AssignProjectRequest(project_id=first.project_id, team_id="t_ann")
        )
        assert moved.project.name == face * 200
        renamed = (await _rename(world, "ann", first)).project
        assert (renamed.name, len(renamed.description)) == ("New", 4000)

    async def test_a_hidden_character_in_the_name_is_refused(self, world: World) -> None:
        no = await refused(create(world, "ann", name="pay\u202eroll"))
        assert (no.reason, no.metadata["field"]) == ("INVALID_FIELD", "name")


class TestGet:
    async def test_absent_and_forbidden_are_the_same(self, world: World) -> None:
        project = await create(world, "ann")
        forbidden = await refused(get(world, "bob", project.project_id))
        absent = await refused(get(world, "bob", "p_absent"))
        assert forbidden.reason == absent.reason == "PERMISSION_DENIED"
        assert forbidden.message.replace(project.project_id, "p_absent") == absent.message

    async def test_owners_of_a_suspended_account_may_still_read(self, world: World) -> None:
        project = await create(world, "ann", account_id="a_one", restricted=False)
        assert (await get(world, "eve", project.project_id)).project.project_id
        world.people.accounts["a_one"].status = AccountStatus.ACCOUNT_STATUS_SUSPENDED
        assert (await get(world, "ann", project.project_id)).project == _without_rights(project)
        assert (await refused(get(world, "eve", project.project_id))).reason == "PERMISSION_DENIED"
        assert (await refused(_rename(world, "ann", project))).reason == "PERMISSION_DENIED"

    async def test_an_archived_account_cuts_to_view(self, world: World) -> None:
        project = await create(world, "ann", account_id="a_one")
        world.people.accounts["a_one"].status = AccountStatus.ACCOUNT_STATUS_ARCHIVED
        seen = (await get(world, "ann", project.project_id)).project
        assert list(seen.my_permissions) == [Permission.PERMISSION_VIEW]
        assert (await refused(_rename(world, "ann", project))).reason == "PERMISSION_DENIED"

    async def test_a_scope_that_cannot_be_read_is_never_guessed(self, world: World) -> None:
        project = await create(world, "ann")
        world.people.unreadable.add("w_ann")
        assert (await refused(get(world, "ann", project.project_id))).reason == (
            "BACKEND_UNAVAILABLE"
        )

    async def test_a_foreign_consistency_token_is_refused(self, world: World) -> None:
        project = await create(world, "ann")
        request = pb.GetProjectRequest(project_id=project.project_id)
        request.consistency.at_least_as_fresh.tokens.append("bm90IG91cnM")
        no = await refused(world.projects("ann").GetProject(request))
        assert no.reason == "FOREIGN_CONSISTENCY_TOKEN"


def _without_rights(project: Project) -> Project:
    copy = Project()
    copy.CopyFrom(project)
    copy.ClearField("my_permissions")
    return copy


def _rename(world: World, user_id: str, project: Project, etag: str = "") -> object:
    return _update(world, user_id, project.project_id, ["name"], name="New", etag=etag)


def _update(
    world: World, user_id: str, project_id: str, paths: list[str], **fields: object
) -> object:
    request = pb.UpdateProjectRequest(project=Project(project_id=project_id, **fields))
    request.update_mask.paths.extend(paths)
    return world.projects(user_id).UpdateProject(request)


class TestUpdate:
    async def test_changes_the_masked_fields_alone(self, world: World) -> None:
        project = await create(world, "ann", description="kept")
        changed = (
            await _update(world, "ann", project.project_id, ["name"], name="New", description="no")
        ).project
        assert (changed.name, changed.description) == ("New", "kept")
        assert changed.etag != project.etag
        assert changed.updated_by == "ann"

    @pytest.mark.parametrize("field", ["account_id", "status", "legal_hold", "no_such", "etag"])
    async def test_server_set_and_unknown_fields_are_refused(
        self, world: World, field: str
    ) -> None:
        project = await create(world, "ann")
        no = await refused(_update(world, "ann", project.project_id, [field]))
        assert (no.reason, no.metadata["field"]) == ("INVALID_MASK", field)

    async def test_needs_write_and_owner_for_restricted(self, world: World) -> None:
        project = await create(world, "ann")
        await give(world, project, "bob", "VIEW")
        await give(world, project, "eve", "WRITE")
        assert (await refused(_rename(world, "bob", project))).reason == "PERMISSION_DENIED"
        assert (await _rename(world, "eve", project)).project.name == "New"
        for field in ("restricted", "data_classification"):
            no = await refused(_update(world, "eve", project.project_id, [field]))
            assert (no.reason, no.metadata["permission"]) == ("PERMISSION_DENIED", "owner")
        restricted = await _update(
            world, "ann", project.project_id, ["restricted"], restricted=True
        )
        assert restricted.project.restricted

    async def test_an_outdated_etag_changes_nothing(self, world: World) -> None:
        project = await create(world, "ann")
        await _rename(world, "ann", project, etag=project.etag)
        no = await refused(_rename(world, "ann", project, etag=project.etag))
        assert no.reason == "ETAG_MISMATCH"

    async def test_needs_an_active_project(self, world: World) -> None:
        project = await create(world, "ann")
        await world.projects("ann").SetProjectStatus(
            pb.SetProjectStatusRequest(
                project_id=project.project_id, status=ProjectStatus.PROJECT_STATUS_ARCHIVED
            )
        )
        no = await refused(_rename(world, "ann", project))
        assert (no.reason, no.metadata["state"]) == ("INVALID_STATE", "archived")

    @pytest.mark.case("Z21")
    async def test_a_write_right_revoked_before_the_commit_fails_the_write(
        self, world: World, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        project = await create(world, "ann")
        grant_id = await give(world, project, "bob", "WRITE")
        commit = world.records.commit
        revoked = False

        async def late_commit(pk: str, writes: list[object], **more: object) -> object:
            nonlocal revoked
            if not revoked:
                revoked = True
                await world.grants("ann").RevokeGrant(
                    grants.RevokeGrantRequest(project_id=project.project_id, grant_id=grant_id)
                )
            return await commit(pk, writes, **more)

        monkeypatch.setattr(world.records, "commit", late_commit)
        assert (await refused(_rename(world, "bob", project))).reason == "PERMISSION_DENIED"
        assert (await get(world, "ann", project.project_id)).project.name == "Plan"


class TestStatusAndTrash:
    def _delete(self, world: World, user_id: str, project_id: str, **fields: object) -> object:
        return world.projects(user_id).DeleteProject(
            pb.DeleteProjectRequest(project_id=project_id, **fields)
        )

    def _restore(self, world: World, user_id: str, project_id: str) -> object:
        return world.projects(user_id).RestoreProject(
            pb.RestoreProjectRequest(project_id=project_id)
        )

    def _hold(self, world: World, user_id: str, project_id: str, hold: bool) -> object:
        return world.projects(user_id).SetLegalHold(
            pb.SetLegalHoldRequest(project_id=project_id, legal_hold=hold, reason="case 7")
        )

    def _status(self, world: World, project_id: str, status: int) -> object:
        return world.projects("ann").SetProjectStatus(
            pb.SetProjectStatusRequest(project_id=project_id, status=status)
        )

    async def test_only_an_owner_trashes_and_restores_to_the_former_state(
        self, world: World
    ) -> None:
        project = await create(world, "ann")
        await give(world, project, "bob", "MANAGE_ACCESS", "WRITE")
        pid = project.project_id
        await self._status(world, pid, ProjectStatus.PROJECT_STATUS_ARCHIVED)
        assert (await refused(self._delete(world, "bob", pid))).reason == "PERMISSION_DENIED"
        trashed = (await self._delete(world, "ann", pid)).project
        assert trashed.status == ProjectStatus.PROJECT_STATUS_TRASHED
        assert trashed.trashed_by == "ann"
        days = (trashed.purge_after.seconds - trashed.trashed_at.seconds) / 86400
        assert days == world.kernel.settings.trash_days
        no = await refused(self._delete(world, "ann", pid))
        assert (no.reason, no.metadata["state"]) == ("INVALID_STATE", "trashed")
        no = await refused(self._status(world, pid, ProjectStatus.PROJECT_STATUS_ACTIVE))
        assert no.reason == "INVALID_STATE"
        no = await refused(_rename(world, "ann", project))
        assert no.reason == "INVALID_STATE"
        restored = (await self._restore(world, "ann", pid)).project
        assert restored.status == ProjectStatus.PROJECT_STATUS_ARCHIVED
        assert not restored.HasField("purge_after")
        assert (await refused(self._restore(world, "ann", pid))).reason == "INVALID_STATE"

    async def test_a_replay_shows_no_more_than_the_caller_may_view_now(self, world: World) -> None:
        """A large answer is read again for a replay: after the rights, not before."""
        world.people.member("a_one", "eve", Role.ACCOUNT_ROLE_ACCOUNT_ADMIN)
        project = await create(world, "ann", account_id="a_one", description="\U0001f600" * 4000)
        request = pb.SetLegalHoldRequest(
            project_id=project.project_id, legal_hold=True, reason="r" * 900,
            request_id=request_id(),
        )
        grant_id = await give(world, project, "eve", "VIEW")
        first = (await world.projects("eve").SetLegalHold(request)).project
        assert (len(first.description), list(first.my_permissions)) == (4000, [1])
        again = (await world.projects("eve").SetLegalHold(request)).project
        assert again == first
        await world.grants("ann").RevokeGrant(
            grants.RevokeGrantRequest(project_id=project.project_id, grant_id=grant_id)
        )
        again = (await world.projects("eve").SetLegalHold(request)).project
        assert again == Project(project_id=project.project_id)

    @pytest.mark.parametrize("account_id", ["a_one", ""])
    async def test_a_hold_of_the_home_counts_for_those_who_cannot_read_it(
        self, world: World, account_id: str
    ) -> None:
        project = await create(world, "ann", account_id=account_id)
        await give(world, project, "bob", "OWNER")  # bob is no member of the home
        home = account_id or "w_ann"
        world.people.accounts[home].legal_hold = True
        no = await refused(self._delete(world, "bob", project.project_id))
        kind = "accounts" if account_id else "workspaces"
        assert (no.reason, no.metadata["resource"]) == ("HELD", f"{kind}/{home}")
        world.people.accounts[home].legal_hold = False
        await self._delete(world, "bob", project.project_id)

    async def test_a_replayed_delete_gives_the_same_answer(self, world: World) -> None:
        project = await create(world, "ann")
        same = request_id()
        first = await self._delete(world, "ann", project.project_id, request_id=same)
        again = await self._delete(world, "ann", project.project_id, request_id=same)
        assert first.project == again.project

    async def test_the_trash_lists_what_the_caller_could_restore(self, world: World) -> None:
        mine = [await create(world, "ann", account_id="a_one") for _ in range(5)]
        for project in mine[:3]:
            await give(world, project, "eve", "VIEW", "WRITE")
            await self._delete(world, "ann", project.project_id)
        wanted = sorted(project.project_id for project in mine[:3])
        seen: list[str] = []
        token = ""
        while True:
            page = await world.projects("ann").ListTrash(
                pb.ListTrashRequest(account_id="a_one", page_size=2, page_token=token)
            )
            seen += [item.project.project_id for item in page.items]
            token = page.next_page_token
            if not token:
                break
        assert seen == wanted
        assert not (await world.projects("eve").ListTrash(pb.ListTrashRequest())).items
        other = await world.projects("ann").ListTrash(pb.ListTrashRequest(account_id="a_two"))
        assert not other.items

    async def test_the_trash_lists_documents_of_live_projects_that_the_caller_owns(
        self, world: World
    ) -> None:
        one, two, gone = sorted(
            [await create(world, "ann") for _ in range(3)], key=lambda p: p.project_id
        )
        await give(world, one, "bob", "WRITE")
        for project in (one, two, gone):
            for number in range(4):
                await put_document(world, project, f"d_{project.project_id[2:8]}_{number}", number)
        await self._delete(world, "ann", gone.project_id)

        async def listed(user_id: str, size: int, **fields: str) -> list[str]:
            seen: list[str] = []
            token = ""
            while True:
                page = await world.projects(user_id).ListTrash(
                    pb.ListTrashRequest(page_size=size, page_token=token, **fields)
                )
                assert len(page.items) <= size
                seen += [i.document.document_id or i.project.project_id for i in page.items]
                token = page.next_page_token
                if not token:
                    return seen

        of = {p.project_id: f"d_{p.project_id[2:8]}_" for p in (one, two)}
        wanted = [prefix + n for prefix in of.values() for n in ("0", "2")] + [gone.project_id]
        for size in (1, 2, 3, 5, 50):
            assert await listed("ann", size) == wanted
            assert await listed("ann", size, project_id=two.project_id) == wanted[2:4]
        assert await listed("bob", 5) == []
        no = await refused(listed("bob", 5, project_id=one.project_id))
        assert no.reason == "PERMISSION_DENIED"

    async def test_a_hold_of_project_or_account_keeps_it_out_of_the_trash(
        self, world: World
    ) -> None:
        project = await create(world, "ann", account_id="a_one")
        pid = project.project_id
        held = (await self._hold(world, "ann", pid, True)).project
        assert held.legal_hold
        assert (await refused(self._delete(world, "ann", pid))).reason == "HELD"
        await self._hold(world, "ann", pid, False)
        world.people.accounts["a_one"].legal_hold = True
        no = await refused(self._delete(world, "ann", pid))
        assert (no.reason, no.metadata["resource"]) == ("HELD", "accounts/a_one")
        world.people.accounts["a_one"].legal_hold = False
        await self._delete(world, "ann", pid)

    async def test_a_hold_needs_manage_account_or_ownership_of_a_private_project(
        self, world: World
    ) -> None:
        project = await create(world, "eve", account_id="a_one")
        pid = project.project_id
        assert (await refused(self._hold(world, "eve", pid, True))).reason == "PERMISSION_DENIED"
        held = (await self._hold(world, "ann", pid, True)).project
        assert held.legal_hold
        assert held.name == ""  # ann administers the account; she cannot see the project
        private = await create(world, "eve")
        assert (await self._hold(world, "eve", private.project_id, True)).project.name == "Plan"
        no = await refused(self._hold(world, "ann", private.project_id, False))
        absent = await refused(self._hold(world, "ann", "p_absent", False))
        assert no.reason == absent.reason == "PERMISSION_DENIED"


async def put_document(world: World, project: Project, document_id: str, number: int) -> None:
    """A document row; every other one is in the trash."""
    status = DocumentStatus.DOCUMENT_STATUS_AVAILABLE
    if number % 2 == 0:
        status = DocumentStatus.DOCUMENT_STATUS_TRASHED
    document = Document(document_id=document_id, project_id=project.project_id, status=status)
    await world.records.commit(
        f"DOCUMENT#{document_id}",
        [Write(FAMILIES["document"], document)],
        activity=Activity("document.created", f"documents/{document_id}"),
    )


async def list_all(world: World, user_id: str, size: int = 0, **fields: object) -> list[str]:
    seen: list[str] = []
    token = ""
    while True:
        page = await world.projects(user_id).ListProjects(
            pb.ListProjectsRequest(page_size=size, page_token=token, **fields)
        )
        assert len(page.projects) <= (size or 50)
        seen += [project.project_id for project in page.projects]
        token = page.next_page_token
        if not token:
            return seen


class TestList:
    @pytest.fixture
    async def ids(self, world: World) -> dict[str, str]:
        """Projects that each user reaches in another way, and many that he does not."""
        made = {
            "own": await create(world, "eve"),
            "open": await create(world, "ann", account_id="a_one", restricted=False),
            "restricted": await create(world, "ann", account_id="a_one", restricted=True),
            "team": await create(world, "ann", account_id="a_one", team_id="t_one"),
            "direct": await create(world, "ann", account_id="a_two", name="Direct"),
            "hidden": await create(world, "ann", account_id="a_two", restricted=False),
            "bobs": await create(world, "bob"),
        }
        await give(world, made["direct"], "eve", "VIEW")
        await give(world, made["open"], "eve", "COMMENT")
        return {name: project.project_id for name, project in made.items()}

    @pytest.mark.case("Z07")
    @pytest.mark.parametrize("size", [0, 1, 2, 3, 4, 5, 500])
    async def test_lists_exactly_what_a_check_allows_at_every_page_size(
        self, world: World, ids: dict[str, str], size: int
    ) -> None:
        for user_id in ("ann", "bob", "eve", "zoe"):
            allowed = [
                project_id
                for project_id in ids.values()
                if not isinstance(await _try(get(world, user_id, project_id)), Refused)
            ]
            assert await list_all(world, user_id, size) == sorted(allowed)

    async def test_scopes_and_filters(self, world: World, ids: dict[str, str]) -> None:
        def named(*names: str) -> list[str]:
            return sorted(ids[name] for name in names)

        assert await list_all(world, "eve", account_id="a_one") == named("open", "team")
        assert await list_all(world, "eve", account_id="a_two") == named("direct")
        assert await list_all(world, "eve", team_id="t_one") == named("team")
        assert await list_all(world, "ann", team_id="t_one") == named("team")
        assert await list_all(world, "bob", team_id="t_one") == []
        assert await list_all(world, "eve", workspace_id="w_eve") == named("own")
        assert await list_all(world, "eve", workspace_id="w_bob") == []
        assert await list_all(world, "eve", name_prefix="Dir") == named("direct")
        assert await list_all(world, "eve", name_prefix="dir") == []
        archived = ProjectStatus.PROJECT_STATUS_ARCHIVED
        assert await list_all(world, "ann", status=archived) == []
        await world.projects("ann").SetProjectStatus(
            pb.SetProjectStatusRequest(project_id=ids["open"], status=archived)
        )
        assert await list_all(world, "eve", status=archived) == named("open")
        assert await list_all(world, "eve", account_id="a_one") == named("team")

    async def test_what_was_taken_away_is_not_listed(
        self, world: World, ids: dict[str, str]
    ) -> None:
        world.people.members["a_one", "eve"].status = MemberStatus.MEMBER_STATUS_SUSPENDED
        assert await list_all(world, "eve") == sorted([ids["own"], ids["direct"], ids["open"]])
        world.people.accounts["a_two"].status = AccountStatus.ACCOUNT_STATUS_SUSPENDED
        assert await list_all(world, "eve") == sorted([ids["own"], ids["open"]])

    async def test_a_token_is_bound_to_caller_and_arguments(
        self, world: World, ids: dict[str, str]
    ) -> None:
        page = await world.projects("ann").ListProjects(pb.ListProjectsRequest(page_size=1))
        for user_id, fields in (("eve", {}), ("ann", {"name_prefix": "P"})):
            no = await refused(
                world.projects(user_id).ListProjects(
                    pb.ListProjectsRequest(page_token=page.next_page_token, **fields)
                )
            )
            assert no.reason == "INVALID_PAGE_TOKEN"

    async def test_many_candidates_that_lead_nowhere_are_passed_in_bounded_calls(
        self, world: World, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("project_svc.access.visible._MOST_EXAMINED", 3)
        made = [await create(world, "ann", name=f"{n % 5}") for n in range(12)]
        wanted = sorted(p.project_id for p in made if p.name == "4")
        assert await list_all(world, "ann", 10, name_prefix="4") == wanted


async def _try(call: object) -> object:
    try:
        return await call  # type: ignore[misc]
    except Exception as error:
        return Refused(error)  # type: ignore[arg-type]


async def test_the_activity_row_of_a_change_is_in_its_partition(world: World) -> None:
    project = await create(world, "ann", account_id="a_one")
    page = await world.records.query(
        FAMILIES["activity_event"], Index.BASE, f"PROJECT#{project.project_id}", prefix="EVENT#"
    )
    (event,) = page.records
    assert event.message.type == "project.created"
    assert event.message.project_id == project.project_id
