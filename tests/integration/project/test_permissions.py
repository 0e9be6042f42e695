"""Permission questions: about oneself freely, about others with the right to ask."""

from __future__ import annotations

from typing import Any

import pytest
from google.protobuf import any_pb2
from google.rpc import error_details_pb2
from workspace.common.v1.consistency_pb2 import Consistency
from workspace.common.v1.permission_pb2 import Permission
from workspace.identity.v1.account_pb2 import AccountStatus, MemberStatus
from workspace.identity.v1.user_pb2 import UserStatus
from workspace.project.v1 import permission_service_pb2 as pb
from workspace.project.v1 import project_service_pb2 as projects
from workspace.project.v1.permission_pb2 import PermissionSourceKind
from workspace.project.v1.project_pb2 import Project

from services.model.permissions import ALL
from tests.integration.project.test_grants import ACCOUNT, TEAM, give, in_seconds, revoke, rights
from tests.integration.project.test_projects import create, list_all
from tests.integration.project.world import World, refused

EVERYBODY = ("ann", "bob", "eve", "zoe")


@pytest.fixture
async def some(world: World) -> dict[str, Project]:
    """Projects that people reach through every rule of the model."""
    made = {
        "private": await create(world, "ann"),
        "open": await create(world, "ann", account_id="a_one", restricted=False),
        "closed": await create(world, "ann", account_id="a_one", restricted=True),
        "team": await create(world, "ann", account_id="a_one", team_id="t_one"),
        "free": await create(world, "ann", team_id="t_free"),
    }
    await give(world, made["private"], "ann", "bob", "MANAGE_ACCESS", expires_at=in_seconds(500))
    await give(world, made["open"], "ann", "a_one", "REVIEW", target_type=ACCOUNT)
    await give(world, made["closed"], "ann", "t_one", "COMMENT", target_type=TEAM)
    return made


async def check(
    world: World, caller: str, project_id: str, name: str, asking: str = "", **fields: Any
) -> bool:
    request = pb.CheckPermissionRequest(
        project_id=project_id, permission=Permission.Value(f"PERMISSION_{name}"), **fields
    )
    answer = await world.permissions(caller, asking=asking).CheckPermission(request)
    assert world.kernel.consistency.verify(answer.consistency_token)
    return bool(answer.allowed)


async def effective(world: World, caller: str, project_id: str, **fields: Any) -> Any:
    return await world.permissions(caller).GetEffectivePermissions(
        pb.GetEffectivePermissionsRequest(project_id=project_id, **fields)
    )


async def accessible(
    world: World, caller: str, size: int = 0, asking: str = "", **fields: Any
) -> list[Any]:
    seen: list[Any] = []
    token = ""
    while True:
        page = await world.permissions(caller, asking=asking).ListAccessibleProjects(
            pb.ListAccessibleProjectsRequest(page_size=size, page_token=token, **fields)
        )
        seen += page.projects
        token = page.next_page_token
        if not token:
            return seen


class TestCheck:
    async def test_answers_for_oneself(self, world: World, some: dict[str, Project]) -> None:
        expected = {
            ("bob", "private", "MANAGE_ACCESS"): True,
            ("bob", "private", "VIEW"): True,
            ("bob", "private", "COMMENT"): False,
            ("eve", "open", "WRITE"): True,  # editor, by the account fallback
            ("eve", "open", "MANAGE_ACCESS"): False,
            ("eve", "closed", "COMMENT"): True,  # by team
            ("eve", "closed", "REVIEW"): False,
            ("bob", "free", "WRITE"): True,  # by assignment
            ("zoe", "open", "VIEW"): False,
        }
        for (user_id, name, right), allowed in expected.items():
            assert await check(world, user_id, some[name].project_id, right) is allowed, name
        assert await check(world, "ann", "p_absent", "VIEW") is False

    async def test_every_change_shows_at_once(self, world: World, some: dict[str, Project]) -> None:
        open_id, closed_id = some["open"].project_id, some["closed"].project_id
        assert await check(world, "eve", closed_id, "VIEW")
        world.people.team_members["t_one", "eve"].status = MemberStatus.MEMBER_STATUS_REMOVED
        assert not await check(world, "eve", closed_id, "VIEW")
        grant = await give(world, some["closed"], "ann", "eve", "REVIEW")
        assert await check(world, "eve", closed_id, "REVIEW")
        await revoke(world, grant, "ann")
        assert not await check(world, "eve", closed_id, "VIEW")
        assert await check(world, "eve", open_id, "VIEW")
        world.people.users["eve"] = UserStatus.USER_STATUS_DISABLED
        assert not await check(world, "eve", open_id, "VIEW")

    async def test_others_take_manage_access_or_a_service(
        self, world: World, some: dict[str, Project]
    ) -> None:
        project_id = some["private"].project_id
        assert await check(world, "bob", project_id, "OWNER", user_id="ann")
        for caller, asked in (("eve", project_id), ("ann", "p_absent")):
            no = await refused(check(world, caller, asked, "VIEW", user_id="bob"))
            assert (no.reason, no.metadata["permission"]) == ("PERMISSION_DENIED", "manage_access")
        assert await check(world, "", project_id, "OWNER", asking="storage_svc", user_id="ann")
        no = await refused(check(world, "", project_id, "OWNER", asking="storage_svc"))
        assert (no.reason, no.metadata["field"]) == ("INVALID_FIELD", "user_id")
        no = await refused(check(world, "", project_id, "VIEW", asking="x_svc", user_id="ann"))
        assert no.reason in {"PERMISSION_DENIED", "UNAUTHENTICATED"}

    async def test_tokens_are_verified_and_every_level_is_met(
        self, world: World, some: dict[str, Project]
    ) -> None:
        project_id = some["private"].project_id
        changed = await world.projects("ann").UpdateProject(
            projects.UpdateProjectRequest(project=Project(project_id=project_id, name="New"))
        )
        for level in (
            Consistency(fully_consistent=True),
            Consistency(minimize_latency=True),
            Consistency(at_least_as_fresh={"tokens": [changed.consistency_token]}),
        ):
            assert await check(world, "ann", project_id, "OWNER", consistency=level)
        foreign = Consistency(at_least_as_fresh={"tokens": ["bm90IG91cnM"]})
        for call in (
            check(world, "ann", project_id, "OWNER", consistency=foreign),
            effective(world, "ann", project_id, consistency=foreign),
            accessible(world, "ann", consistency=foreign),
            batch(world, "ann", [(project_id, "VIEW", "")], consistency=foreign),
        ):
            assert (await refused(call)).reason == "FOREIGN_CONSISTENCY_TOKEN"

    async def test_a_stranger_learns_nothing_from_the_token(
        self, world: World, some: dict[str, Project]
    ) -> None:
        for project_id in (some["private"].project_id, "p_absent"):
            answer = await world.permissions("zoe").CheckPermission(
                pb.CheckPermissionRequest(
                    project_id=project_id, permission=Permission.PERMISSION_VIEW
                )
            )
            assert world.kernel.consistency.verify(answer.consistency_token).pseq == 0

    async def test_facts_that_cannot_be_read_are_unavailable(
        self, world: World, some: dict[str, Project]
    ) -> None:
        world.people.unreadable.add("t_one")
        no = await refused(check(world, "ann", some["team"].project_id, "OWNER"))
        assert no.reason == "BACKEND_UNAVAILABLE"


async def batch(
    world: World, caller: str, items: list[tuple[str, str, str]], asking: str = "", **fields: Any
) -> list[Any]:
    answer = await world.permissions(caller, asking=asking).BatchCheckPermissions(
        pb.BatchCheckPermissionsRequest(
            items=[
                pb.CheckItem(
                    project_id=project_id,
                    permission=Permission.Value(f"PERMISSION_{name}"),
                    user_id=user_id,
                )
                for project_id, name, user_id in items
            ],
            **fields,
        )
    )
    return list(answer.results)


class TestBatch:
    @pytest.mark.case("Z06")
    async def test_agrees_with_single_checks(self, world: World, some: dict[str, Project]) -> None:
        ids = [project.project_id for project in some.values()] + ["p_absent"]
        names = [name.removeprefix("PERMISSION_") for name in Permission.keys()[1:]]
        questions = [(project_id, name, "") for project_id in ids for name in names]
        for user_id in EVERYBODY:
            results = await batch(world, user_id, questions)
            for (project_id, name, _), result in zip(questions, results, strict=True):
                assert result.result.allowed is await check(world, user_id, project_id, name)

    async def test_reads_the_facts_of_a_user_once(
        self, world: World, some: dict[str, Project]
    ) -> None:
        ids = [project.project_id for project in some.values()]
        before = world.identity.batches
        results = await batch(world, "ann", [(ids[n % 5], "VIEW", "") for n in range(500)])
        assert len(results) == 500
        assert world.identity.batches == before + 1

    @pytest.mark.case("Z05")
    async def test_an_item_fails_alone(self, world: World, some: dict[str, Project]) -> None:
        mine, other = some["private"].project_id, some["open"].project_id
        results = await batch(
            world, "bob", [(mine, "OWNER", "ann"), (other, "VIEW", "eve"), (other, "VIEW", "")]
        )
        assert results[0].result.allowed is True
        assert results[1].error.code == 7
        assert _reason(results[1].error.details[0]) == "ERROR_REASON_PERMISSION_DENIED"
        assert results[2].result.allowed is False

    async def test_services_ask_about_anyone(self, world: World, some: dict[str, Project]) -> None:
        open_id = some["open"].project_id
        questions = [(open_id, "WRITE", "eve"), (open_id, "WRITE", "zoe"), (open_id, "WRITE", "")]
        results = await batch(world, "", questions, asking="sync_svc")
        assert [r.result.allowed for r in results[:2]] == [True, False]
        assert results[2].error.code == 3

    async def test_more_than_500_are_refused(self, world: World) -> None:
        no = await refused(batch(world, "ann", [("p_x", "VIEW", "")] * 501))
        assert no.reason == "INVALID_FIELD"


def _reason(detail: any_pb2.Any) -> str:
    info = error_details_pb2.ErrorInfo()
    detail.Unpack(info)
    return info.reason


class TestEffective:
    async def test_names_every_source(self, world: World, some: dict[str, Project]) -> None:
        kinds = PermissionSourceKind
        answer = (await effective(world, "eve", some["open"].project_id)).effective_permissions
        assert list(answer.permissions) == rights("VIEW", "COMMENT", "REVIEW", "WRITE")
        by_kind = {source.kind: source for source in answer.sources}
        fallback = by_kind[kinds.PERMISSION_SOURCE_KIND_ACCOUNT_FALLBACK]
        assert (fallback.role, fallback.account_id) == ("editor", "a_one")
        granted = by_kind[kinds.PERMISSION_SOURCE_KIND_ACCOUNT_GRANT]
        assert list(granted.permissions) == rights("VIEW", "REVIEW")
        mine = (await effective(world, "ann", some["private"].project_id)).effective_permissions
        assert [s.kind for s in mine.sources] == [kinds.PERMISSION_SOURCE_KIND_OWNER_GRANT]
        bobs = (await effective(world, "bob", some["private"].project_id)).effective_permissions
        assert bobs.sources[0].HasField("expires_at")

    async def test_a_stranger_cannot_tell_absent_from_forbidden(
        self, world: World, some: dict[str, Project]
    ) -> None:
        forbidden = await effective(world, "zoe", some["open"].project_id)
        absent = await effective(world, "zoe", "p_absent")
        for answer in (forbidden, absent):
            assert not answer.effective_permissions.permissions
            assert not answer.effective_permissions.sources
            assert answer.grant_revision == ""

    async def test_of_others_with_manage_access(
        self, world: World, some: dict[str, Project]
    ) -> None:
        project_id = some["private"].project_id
        answer = await effective(world, "bob", project_id, user_id="ann")
        assert set(answer.effective_permissions.permissions) == ALL
        no = await refused(effective(world, "zoe", project_id, user_id="ann"))
        assert no.reason == "PERMISSION_DENIED"

    async def test_says_when_the_account_cuts(self, world: World, some: dict[str, Project]) -> None:
        world.people.accounts["a_one"].status = AccountStatus.ACCOUNT_STATUS_ARCHIVED
        answer = (await effective(world, "eve", some["open"].project_id)).effective_permissions
        assert answer.reduced
        assert list(answer.permissions) == rights("VIEW")

    async def test_the_grant_revision_moves_with_grants_and_assignment_alone(
        self, world: World, some: dict[str, Project]
    ) -> None:
        project = some["private"]

        async def revision() -> str:
            answer = await effective(world, "ann", project.project_id)
            return str(answer.grant_revision)

        first = await revision()
        await world.projects("ann").UpdateProject(
            projects.UpdateProjectRequest(project=Project(project_id=project.project_id, name="X"))
        )
        assert await revision() == first
        grant = await give(world, project, "ann", "zoe", "VIEW")
        second = await revision()
        await revoke(world, grant, "ann")
        assert len({first, second, await revision()}) == 3


class TestAccessible:
    @pytest.mark.parametrize("size", [0, 1, 2, 3, 500])
    @pytest.mark.parametrize("name", ["VIEW", "COMMENT", "WRITE", "MANAGE_ACCESS", "OWNER"])
    async def test_is_exactly_what_checks_allow(
        self, world: World, some: dict[str, Project], size: int, name: str
    ) -> None:
        permission = Permission.Value(f"PERMISSION_{name}")
        for user_id in EVERYBODY:
            wanted = [
                project.project_id
                for project in some.values()
                if await check(world, user_id, project.project_id, name)
            ]
            listed = await accessible(world, user_id, size, permission=permission)
            assert [entry.project_id for entry in listed] == sorted(wanted)
            for entry in listed:
                single = await effective(world, user_id, entry.project_id)
                assert entry.permissions == single.effective_permissions.permissions
                assert not entry.sources

    async def test_of_others_as_far_as_the_caller_manages(
        self, world: World, some: dict[str, Project]
    ) -> None:
        of_ann = [entry.project_id for entry in await accessible(world, "bob", user_id="ann")]
        assert of_ann == [some["private"].project_id]
        assert await accessible(world, "zoe", user_id="ann") == []
        as_service = await accessible(world, "", asking="storage_svc", user_id="ann")
        assert [entry.project_id for entry in as_service] == await list_all(world, "ann")

    async def test_sources_and_tokens(self, world: World, some: dict[str, Project]) -> None:
        entries = await accessible(world, "eve", include_sources=True)
        assert all(entry.sources for entry in entries)
        page = await world.permissions("ann").ListAccessibleProjects(
            pb.ListAccessibleProjectsRequest(page_size=1)
        )
        no = await refused(
            world.permissions("ann").ListAccessibleProjects(
                pb.ListAccessibleProjectsRequest(
                    page_size=1, page_token=page.next_page_token, user_id="bob"
                )
            )
        )
        assert no.reason == "INVALID_PAGE_TOKEN"
