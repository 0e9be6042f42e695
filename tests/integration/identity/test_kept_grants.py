"""What a removed member keeps is told to who removes him."""

from __future__ import annotations

from tests.harness import Workspace
from tests.integration.identity.lifecycle import new_project, owners_of
from tests.integration.identity.people import ANN, BOB, EDITOR, People, new_request_id


async def test_kept_owner_grants_are_answered_and_claimable(ws: Workspace) -> None:
    people = People(ws)
    _, bob = await people.sign_in(ANN, BOB)
    account_id = await people.account(ANN, bob=EDITOR)
    mine = {await new_project(ws, BOB, account_id=account_id) for _ in range(3)}
    await new_project(ws, ANN, account_id=account_id)
    request_id = new_request_id()
    answer = await people.remove(ANN, account_id, BOB, request_id=request_id)
    assert {kept.project_id for kept in answer.kept_owner_grants} == mine
    assert answer.kept_owner_grant_count == 3
    assert all(kept.grant_id for kept in answer.kept_owner_grants)
    again = await people.remove(ANN, account_id, BOB, request_id=request_id)
    assert again.kept_owner_grant_count == 3, "a repeat looks again"
    assert await owners_of(ws, BOB, min(mine)) == {bob}
