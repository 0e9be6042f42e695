"""The rule of machine tokens: it only takes away, and refuses what it does not know."""

from __future__ import annotations

import itertools

import pytest
from workspace.identity.v1 import account_service_pb2 as acs
from workspace.identity.v1 import identity_service_pb2 as ids
from workspace.identity.v1 import team_service_pb2 as tms
from workspace.project.v1 import history_service_pb2 as hs
from workspace.project.v1 import project_service_pb2 as ps

from services.model.permissions import ALL, OWNER, VIEW, WRITE
from services.model.token_scopes import RPCS, Needs, TokenScope, may_call
from tests.contract.served import CONTRACT

WHOLE = TokenScope()
IDENTITY = "/workspace.identity.v1.IdentityService/"
ACCOUNT = "/workspace.identity.v1.AccountService/"
TEAM = "/workspace.identity.v1.TeamService/"
PROJECT = "/workspace.project.v1.ProjectService/"
HISTORY = "/workspace.project.v1.HistoryService/"
SCOPES = [
    TokenScope.of(permissions, projects, accounts)
    for permissions, projects, accounts in itertools.product(
        [[], [VIEW], [WRITE], [OWNER]], [[], ["p_1"]], [[], ["a_1"]]
    )
]


def test_every_rpc_that_people_may_call_has_a_row_and_no_other() -> None:
    assert {path for path, rpc in CONTRACT.items() if not rpc.internal} == set(RPCS)


def test_an_unknown_rpc_is_refused_even_without_a_scope() -> None:
    assert not may_call(WHOLE, "/workspace.identity.v1.IdentityService/New", None)


@pytest.mark.parametrize("scope", SCOPES)
def test_no_scope_creates_tokens_links_identities_or_acts_for_the_platform(
    scope: TokenScope,
) -> None:
    for name in (
        "CreateMachineToken", "LinkIdentity", "UnlinkIdentity", "BootstrapPlatformAdmin",
        "NormalizeIdentity", "DisableUser", "EnableUser", "EraseUser",
    ):
        assert not may_call(scope, IDENTITY + name, CONTRACT[IDENTITY + name].request())
    for name in (
        "ListAllAccounts", "DeleteAccount", "TransferAccountOwnership", "ClaimOrphanedProject",
    ):
        assert not may_call(scope, ACCOUNT + name, CONTRACT[ACCOUNT + name].request())


def test_without_a_scope_everything_else_is_the_users() -> None:
    for path, needs in RPCS.items():
        assert may_call(WHOLE, path, CONTRACT[path].request()) == (needs is not Needs.NEVER)


@pytest.mark.parametrize("scope", SCOPES)
def test_the_cut_only_takes_away(scope: TokenScope) -> None:
    """What a scope allows, a scope with less in it never widens."""
    wider = [
        TokenScope(frozenset(), scope.project_ids, scope.account_ids),
        TokenScope(scope.permissions, frozenset(), scope.account_ids),
        TokenScope(scope.permissions, scope.project_ids, frozenset()),
    ]
    for project, home in itertools.product(["p_1", "p_2"], ["a_1", "a_2", ""]):
        left = scope.on_project(project, home)
        assert left <= ALL
        for other in wider:
            assert left <= other.on_project(project, home)
    for path in RPCS:
        request = CONTRACT[path].request()
        if may_call(scope, path, request):
            assert all(may_call(other, path, request) for other in [WHOLE, *wider]), path


def test_a_project_is_reached_by_id_and_by_home() -> None:
    scope = TokenScope.of([WRITE], ["p_1"], ["a_1"])
    assert scope.on_project("p_1", "a_1") == {VIEW, WRITE}
    assert scope.on_project("p_2", "a_1") == frozenset()
    assert scope.on_project("p_1", "a_2") == frozenset()
    assert TokenScope().on_project("p_1", "a_1") == ALL
    assert TokenScope.of([OWNER], [], []).on_project("p_1", "a_1") == ALL


def test_accounts_are_managed_by_account_scope_alone() -> None:
    path, own = ACCOUNT + "AddAccountMember", acs.AddAccountMemberRequest(account_id="a_1")
    assert may_call(TokenScope.of([], [], ["a_1"]), path, own)
    for scope in (
        TokenScope.of([], [], ["a_2"]),
        TokenScope.of([OWNER], [], ["a_1"]),
        TokenScope.of([], ["p_1"], ["a_1"]),
        TokenScope.of([OWNER], [], []),
    ):
        assert not may_call(scope, path, own)
    assert may_call(TokenScope.of([VIEW], [], ["a_1"]), ACCOUNT + "GetAccount",
                    acs.GetAccountRequest(account_id="a_1"))
    assert not may_call(TokenScope.of([VIEW], ["p_1"], []), TEAM + "CreateTeam",
                        tms.CreateTeamRequest(account_id="a_1"))
    assert not may_call(TokenScope.of([], [], ["a_1"]), ACCOUNT + "CreateAccount",
                        acs.CreateAccountRequest())


def test_projects_are_created_by_owners_in_named_homes() -> None:
    path = PROJECT + "CreateProject"
    named, unnamed = ps.CreateProjectRequest(account_id="a_1"), ps.CreateProjectRequest()
    assert may_call(TokenScope.of([OWNER], [], ["a_1"]), path, named)
    assert may_call(TokenScope.of([OWNER], [], []), path, unnamed)
    assert not may_call(TokenScope.of([], [], ["a_1"]), path, unnamed)
    assert not may_call(TokenScope.of([WRITE], [], ["a_1"]), path, named)
    assert not may_call(TokenScope.of([], ["p_1"], []), path, named)
    assert not may_call(TokenScope.of([], [], ["a_2"]), path, named)


def test_the_activity_of_an_account_is_more_than_that_of_a_project() -> None:
    path = HISTORY + "ListActivity"
    scope = TokenScope.of([], ["p_1"], [])
    assert may_call(scope, path, hs.ListActivityRequest(project_id="p_1"))
    assert not may_call(scope, path, hs.ListActivityRequest(account_id="a_1"))
    assert may_call(TokenScope.of([], [], ["a_1"]), path, hs.ListActivityRequest(account_id="a_1"))


def test_reading_oneself_is_open_to_every_scope() -> None:
    request = ids.GetSessionRequest()
    assert all(may_call(scope, IDENTITY + "GetSession", request) for scope in SCOPES)
