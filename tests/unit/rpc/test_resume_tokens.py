"""Resume tokens lead on for their caller and arguments, and for nobody else."""

from __future__ import annotations

import base64

import pytest
from workspace.project.v1.permission_service_pb2 import WatchPermissionsRequest

from services.model.errors import Reason, WorkspaceError
from services.rpc.resume_tokens import ResumeTokens

KEY = b"k" * 32
CURSOR = '["store", 12, "", ""]'


def tokens(
    *, key: bytes = KEY, method: str = "/a/B", caller: str = "/ann", projects: tuple[str, ...] = ()
) -> ResumeTokens:
    request = WatchPermissionsRequest(project_ids=projects, resume_token="whatever")
    return ResumeTokens(key, method=method, caller=caller, request=request)


def test_a_token_comes_back() -> None:
    assert tokens().open(tokens().issue(CURSOR)) == CURSOR
    assert tokens().open("") is None


@pytest.mark.parametrize(
    "other",
    [
        tokens(key=b"x" * 32),
        tokens(method="/a/C"),
        tokens(caller="/bob"),
        tokens(caller="ann/"),
        tokens(projects=("p_1",)),
    ],
)
def test_of_somebody_else_it_is_refused(other: ResumeTokens) -> None:
    with pytest.raises(WorkspaceError) as refused:
        tokens().open(other.issue(CURSOR))
    assert refused.value.reason == Reason.ERROR_REASON_INVALID_PAGE_TOKEN
    assert refused.value.metadata == {"field": "resume_token"}


def test_edited_or_garbage_it_is_refused() -> None:
    good = tokens().issue(CURSOR)
    edited = [good[:-1] + ("A" if good[-1] != "A" else "B"), good[:20], "B" + good[1:]]
    for bad in [*edited, "x", "!", "é", "A" * 5000]:
        with pytest.raises(WorkspaceError):
            tokens().open(bad)


def test_short_keys_are_refused() -> None:
    with pytest.raises(ValueError, match="32 bytes"):
        tokens(key=b"k" * 31)


def test_the_position_cannot_be_read_and_no_two_tokens_are_alike() -> None:
    first, second = (tokens().issue('["PROJECT#p_hidden", 7]') for _ in range(2))
    assert first != second
    assert b"PROJECT" not in base64.urlsafe_b64decode(first + "==")
    assert tokens().open(first) == tokens().open(second) == '["PROJECT#p_hidden", 7]'
