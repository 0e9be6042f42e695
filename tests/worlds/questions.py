"""Everything that answers permission questions, asked and compared with the oracle.

Each check returns what differs, as text; nothing differs: an empty list.
"""

from __future__ import annotations

import random
import time
from collections.abc import Awaitable, Callable, Iterable, Sequence
from typing import Any

import grpc
import grpc.aio
from workspace.common.v1.consistency_pb2 import Consistency
from workspace.common.v1.permission_pb2 import Permission
from workspace.project.v1 import permission_service_pb2 as pb
from workspace.project.v1 import project_service_pb2 as ps
from workspace.project.v1.permission_pb2 import (
    EffectivePermissions,
    ExplainOutcome,
    PermissionSourceKind,
)
from workspace.project.v1.permission_service_pb2_grpc import PermissionServiceStub
from workspace.project.v1.project_service_pb2_grpc import ProjectServiceStub

from services.model import base64url
from tests.harness import Workspace
from tests.worlds import oracle
from tests.worlds.making import Cast
from tests.worlds.oracle import RIGHTS, World
from tests.worlds.stored import word

__all__ = ["Asker", "consistencies", "every_page", "names", "number", "page_sizes"]

SERVICE = "storage_svc"
DENIED = grpc.StatusCode.PERMISSION_DENIED


def number(right: str) -> Permission.ValueType:
    return Permission.Value(f"PERMISSION_{right.upper()}")


def names(values: Iterable[int]) -> frozenset[str]:
    return frozenset(word(Permission, "PERMISSION_", value) for value in values)


def consistencies(token: str = "") -> list[Consistency]:
    """The three levels, and none said; with a token of the change at least as
    fresh as that."""
    levels = [Consistency(), Consistency(minimize_latency=True), Consistency(fully_consistent=True)]
    if token:
        fresh = Consistency.AtLeastAsFresh(tokens=[token])
        levels.append(Consistency(at_least_as_fresh=fresh))
    return levels


def page_sizes(count: int) -> list[int]:
    return sorted({size for size in (1, 2, count - 1, count, count + 1) if size > 0})


async def every_page(
    call: Callable[[Any], Awaitable[Any]], request: Any, hidden: Sequence[str], size: int
) -> list[Any]:
    """All answers of a list; no page is too long and no token tells an id."""
    request.page_size, answers = size, list[Any]()
    while True:
        answer = await call(request)
        answers.append(answer)
        assert _length(answer) <= size, f"a page of {type(request).__name__} is too long"
        token = answer.next_page_token
        if not token:
            return answers
        told = [each for each in hidden if each.encode() in base64url.decode(token)]
        assert not told, f"the page token of {type(request).__name__} tells {told}"
        assert len(answers) < 1_000, "a list without end"
        request.page_token = token


def _length(answer: Any) -> int:
    """Of the one repeated field of a page."""
    return max((len(rows) for f, rows in answer.ListFields() if f.is_repeated), default=0)


class Asker:
    """Asks about one world. `rng` chooses what is only sampled."""

    def __init__(self, ws: Workspace, cast: Cast, world: World, rng: random.Random) -> None:
        self.ws, self.cast, self.world, self.rng = ws, cast, world, rng
        self.now = time.time()
        self.service = ws.service_stub(PermissionServiceStub, service=SERVICE)
        self.wrong: list[str] = []

    def rights(self, user: str, project: str) -> frozenset[str]:
        return oracle.rights(self.world, user, project, self.now)

    def as_(self, user: str, stub: Any = PermissionServiceStub) -> Any:
        return self.ws.stub(stub, as_=self.cast.people[user])

    @property
    def present(self) -> list[str]:
        """People who can sign in."""
        return [user for user in self.cast.people if self.world.users[user] == "active"]

    def expect(self, what: str, found: object, expected: object) -> None:
        if found != expected:
            self.wrong.append(f"{what}: {found!r} instead of {expected!r}")

    # --- whole matrix, by a service

    async def batch(self, consistency: Consistency, stub: Any = None) -> None:
        """BatchCheckPermissions of every user, project and permission."""
        questions = [(u, p, r) for u in self.cast.users for p in self.cast.projects for r in RIGHTS]
        for at in range(0, len(questions), 500):
            some = questions[at : at + 500]
            items = [
                pb.CheckItem(user_id=u, project_id=p, permission=number(r)) for u, p, r in some
            ]
            request = pb.BatchCheckPermissionsRequest(items=items, consistency=consistency)
            answer = await (stub or self.service).BatchCheckPermissions(request)
            for (u, p, r), result in zip(some, answer.results, strict=True):
                self.expect(f"batch {u} {p} {r}", result.result.allowed, r in self.rights(u, p))

    async def effective(self, consistency: Consistency) -> None:
        """GetEffectivePermissions of every user and project, with sources."""
        for user in self.cast.users:
            for project in self.cast.projects:
                answer = await self.service.GetEffectivePermissions(
                    pb.GetEffectivePermissionsRequest(
                        user_id=user, project_id=project, consistency=consistency
                    )
                )
                found = answer.effective_permissions
                self._effective("effective", found, user, project, sources=True)

    def _effective(
        self, what: str, found: EffectivePermissions, user: str, project: str, *, sources: bool
    ) -> None:
        what = f"{what} {user} {project}"
        self.expect(what, names(found.permissions), self.rights(user, project))
        reasons = oracle.reasons(self.world, user, project, self.now)
        if sources:
            self.expect(f"{what} sources", _sources(found), _reasons(reasons))
        if sources and reasons:
            cut = oracle.home_status(self.world, project) != "active"
            self.expect(f"{what} reduced", found.reduced, cut)

    # --- lists

    async def accessible(self, user: str, right: str, size: int, consistency: Consistency) -> None:
        """ListAccessibleProjects by a service."""
        request = pb.ListAccessibleProjectsRequest(
            user_id=user, permission=number(right), consistency=consistency,
            include_sources=self.rng.random() < 0.5,
        )
        pages = await every_page(
            self.service.ListAccessibleProjects, request, self.cast.ids, size
        )
        found = [each for page in pages for each in page.projects]
        expected = oracle.accessible(self.world, user, self.now, right)
        self.expect(
            f"accessible {user} {right} by {size}", [f.project_id for f in found], expected
        )
        for each in found:
            self._effective(
                "accessible", each, user, each.project_id, sources=request.include_sources
            )

    async def users(
        self, project: str, right: str, size: int, consistency: Consistency, stub: Any = None
    ) -> None:
        """ListProjectUsers."""
        request = pb.ListProjectUsersRequest(
            project_id=project, permission=number(right), consistency=consistency,
            include_sources=self.rng.random() < 0.5,
        )
        call = (stub or self.service).ListProjectUsers
        pages = await every_page(call, request, self.cast.ids, size)
        found = [each for page in pages for each in page.users]
        expected = oracle.people(self.world, project, self.now, right)
        self.expect(f"users {project} {right} by {size}", [f.user_id for f in found], expected)
        for each in found:
            self._effective(
                "users", each, each.user_id, project, sources=request.include_sources
            )

    async def lists(self, consistency: Consistency, *, every_size: bool) -> None:
        for user in self.cast.users:
            right = self.rng.choice(["view", *RIGHTS])
            count = len(oracle.accessible(self.world, user, self.now, right))
            for size in self._sizes(count, every_size=every_size):
                await self.accessible(user, right, size, consistency)
        for project in self.cast.projects:
            right = self.rng.choice(["view", *RIGHTS])
            count = len(oracle.people(self.world, project, self.now, right))
            for size in self._sizes(count, every_size=every_size):
                await self.users(project, right, size, consistency)

    def _sizes(self, count: int, *, every_size: bool) -> list[int]:
        sizes = page_sizes(count)
        return sizes if every_size else [self.rng.choice(sizes)]

    # --- explanations

    async def explain(self, consistency: Consistency, share: float = 1.0) -> None:
        """ExplainPermission by a service: the decision, and the sources that give."""
        for user in self.cast.users:
            for project in self.cast.projects:
                if self.rng.random() < share:
                    await self._explain(user, project, self.rng.choice(RIGHTS), consistency)

    async def _explain(self, user: str, project: str, right: str, level: Consistency) -> None:
        answer = await self.service.ExplainPermission(
            pb.ExplainPermissionRequest(
                user_id=user, project_id=project, permission=number(right), consistency=level
            )
        )
        what, allowed = f"explain {user} {project} {right}", right in self.rights(user, project)
        self.expect(what, answer.allowed, allowed)
        self.expect(f"{what} remedies", bool(answer.remedies), not allowed)
        reasons = oracle.reasons(self.world, user, project, self.now)
        giving = {
            node.source.grant_id
            for node in answer.root.children
            if node.HasField("source") and node.outcome == ExplainOutcome.EXPLAIN_OUTCOME_ALLOWS
        }
        self.expect(f"{what} gives", giving, {r.grant_id for r in reasons if right in r.rights})

    # --- asked by people

    async def by_oneself(self, consistency: Consistency) -> None:
        for user in self.cast.people:
            stub = self.as_(user)
            if self.world.users[user] != "active":
                request = pb.ListAccessibleProjectsRequest()
                code = await _refusal(stub.ListAccessibleProjects(request))
                self.expect(f"disabled {user}", code, DENIED)
                continue
            await self._own_checks(stub, user, consistency)
            await self._own_lists(stub, user, consistency)

    async def _own_checks(self, stub: Any, user: str, consistency: Consistency) -> None:
        for project in self.cast.projects:
            right = self.rng.choice(RIGHTS)
            answer = await stub.CheckPermission(
                pb.CheckPermissionRequest(
                    project_id=project, permission=number(right), consistency=consistency
                )
            )
            held = self.rights(user, project)
            self.expect(f"own check {user} {project} {right}", answer.allowed, right in held)
            projects = self.as_(user, ProjectServiceStub)
            got = await _refusal(projects.GetProject(ps.GetProjectRequest(project_id=project)))
            readable = oracle.readable(self.world, user, project, self.now)
            self.expect(f"get {user} {project}", got, None if readable else DENIED)
            known = held or any(
                (grant.kind, grant.target) == ("user", user)
                for grant in self.world.projects[project].grants
            )
            code = await _refusal(
                stub.ExplainPermission(
                    pb.ExplainPermissionRequest(project_id=project, permission=number(right))
                )
            )
            self.expect(f"own explain {user} {project}", code, None if known else DENIED)

    async def _own_lists(self, stub: Any, user: str, consistency: Consistency) -> None:
        expected = oracle.accessible(self.world, user, self.now)
        size = self.rng.choice(page_sizes(len(expected)))
        listed = await every_page(
            stub.ListAccessibleProjects,
            pb.ListAccessibleProjectsRequest(consistency=consistency),
            self.cast.ids,
            size,
        )
        found = [each.project_id for page in listed for each in page.projects]
        self.expect(f"own accessible {user} by {size}", found, expected)
        shown = await every_page(
            self.as_(user, ProjectServiceStub).ListProjects,
            ps.ListProjectsRequest(), self.cast.ids, size,
        )
        active = [p for p in expected if self.world.projects[p].status == "active"]
        found = [each.project_id for page in shown for each in page.projects]
        self.expect(f"own projects {user} by {size}", found, active)

    async def by_others(self, consistency: Consistency) -> None:
        """People about others: with `manage_access`, and refused without."""
        for project in self.cast.projects:
            if not self.present:
                return
            asker, other = self.rng.choice(self.present), self.rng.choice(self.cast.users)
            managers = [u for u in self.present if "manage_access" in self.rights(u, project)]
            if managers and self.rng.random() < 0.7:
                asker = self.rng.choice(managers)
            await self._about(asker, other, project, consistency)
        for asker in self.present:
            await self._others_projects(asker, self.rng.choice(self.cast.users), consistency)

    async def _about(self, asker: str, other: str, project: str, level: Consistency) -> None:
        right, stub = self.rng.choice(RIGHTS), self.as_(asker)
        may = asker == other or "manage_access" in self.rights(asker, project)
        request = pb.CheckPermissionRequest(
            project_id=project, user_id=other, permission=number(right), consistency=level
        )
        what = f"check of {other} {project} {right} by {asker}"
        code = await _refusal(stub.CheckPermission(request))
        self.expect(what, code, None if may else DENIED)
        if may and code is None:
            answer = await stub.CheckPermission(request)
            self.expect(what, answer.allowed, right in self.rights(other, project))
        if "manage_access" in self.rights(asker, project):
            count = len(oracle.people(self.world, project, self.now, right))
            size = self.rng.choice(page_sizes(count))
            await self.users(project, right, size, level, stub)
        else:
            request_users = pb.ListProjectUsersRequest(project_id=project, consistency=level)
            code = await _refusal(stub.ListProjectUsers(request_users))
            self.expect(f"users of {project} by {asker}", code, DENIED)
        await self._batch_about(asker, project, level)

    async def _batch_about(self, asker: str, project: str, level: Consistency) -> None:
        users = self.cast.users
        items = [
            pb.CheckItem(user_id=u, project_id=project, permission=number("view")) for u in users
        ]
        answer = await self.as_(asker).BatchCheckPermissions(
            pb.BatchCheckPermissionsRequest(items=items, consistency=level)
        )
        manages = "manage_access" in self.rights(asker, project)
        for user, result in zip(users, answer.results, strict=True):
            found = result.result.allowed if result.HasField("result") else None
            expected = "view" in self.rights(user, project) if manages or user == asker else None
            self.expect(f"batch about {user} {project} by {asker}", found, expected)

    async def _others_projects(self, asker: str, other: str, level: Consistency) -> None:
        """Of another user's projects, those on which the asker manages access."""
        expected = [
            p
            for p in oracle.accessible(self.world, other, self.now)
            if asker == other or "manage_access" in self.rights(asker, p)
        ]
        pages = await every_page(
            self.as_(asker).ListAccessibleProjects,
            pb.ListAccessibleProjectsRequest(user_id=other, consistency=level),
            self.cast.ids,
            self.rng.choice(page_sizes(len(expected))),
        )
        found = [each.project_id for page in pages for each in page.projects]
        self.expect(f"projects of {other} by {asker}", found, expected)

    # --- other ways in

    async def by_socket_and_http(self) -> None:
        """The same answers over a socket and over HTTP."""
        if not self.present:
            return
        user = self.rng.choice(self.present)
        email, expected = self.cast.people[user], oracle.accessible(self.world, user, self.now)
        socket = self.ws.socket_stub(PermissionServiceStub, as_=email)
        await self._own_checks(socket, user, Consistency())
        await self._own_lists(socket, user, Consistency())
        async with self.ws.client(as_=email) as http:
            for project in self.cast.projects:
                held, right = self.rights(user, project), self.rng.choice(RIGHTS)
                body = {"project_id": project, "permission": f"PERMISSION_{right.upper()}"}
                answer = await http.post("/api/permissions:check", json=body)
                allowed = answer.json().get("allowed", False)
                self.expect(f"http check {user} {project} {right}", allowed, right in held)
                answer = await http.get(f"/api/projects/{project}/permissions")
                found = _either(_either(answer.json(), "effective_permissions"), "permissions")
                self.expect(
                    f"http effective {user} {project}",
                    frozenset(f.removeprefix("PERMISSION_").lower() for f in found),
                    held,
                )
            size, token, found = self.rng.choice(page_sizes(len(expected))), "", []
            while True:
                query = {"page_size": size, "page_token": token}
                page = (await http.get("/api/permissions/projects", params=query)).json()
                found += [_either(each, "project_id") for each in _either(page, "projects")]
                token = _either(page, "next_page_token")
                if not token:
                    break
            self.expect(f"http accessible {user} by {size}", found, expected)

    # --- all of it

    async def everything(self, token: str = "") -> list[str]:
        """Every question at every level and page size."""
        for level in consistencies(token):
            await self.batch(level)
            await self.effective(level)
            await self.lists(level, every_size=True)
            await self.explain(level)
            await self.by_oneself(level)
            await self.by_others(level)
        await self.by_socket_and_http()
        return self.wrong

    async def some(self, token: str = "") -> list[str]:
        """The matrix at every level, a sample of the rest."""
        levels = consistencies(token)
        for level in levels:
            await self.batch(level)
        await self.lists(self.rng.choice(levels), every_size=False)
        await self.explain(self.rng.choice(levels), share=0.2)
        await self.by_others(self.rng.choice(levels))
        if self.rng.random() < 0.3:
            await self.effective(self.rng.choice(levels))
            await self.by_oneself(self.rng.choice(levels))
        return self.wrong


def _sources(found: EffectivePermissions) -> set[tuple[str, str, frozenset[str]]]:
    return {
        (
            word(PermissionSourceKind, "PERMISSION_SOURCE_KIND_", each.kind),
            each.grant_id,
            names(each.permissions),
        )
        for each in found.sources
    }


def _reasons(found: Sequence[oracle.Reason]) -> set[tuple[str, str, frozenset[str]]]:
    return {(each.rule, each.grant_id, each.rights) for each in found}


def _either(message: dict[str, Any], name: str) -> Any:
    """A JSON member; what is left out is empty."""
    first, *rest = name.split("_")
    return message.get(name, message.get(first + "".join(map(str.capitalize, rest)), ""))


async def _refusal(call: Awaitable[Any]) -> grpc.StatusCode | None:
    """The status code of a refusal; None: it went well."""
    try:
        await call
    except grpc.aio.AioRpcError as error:
        return error.code()
    return None
