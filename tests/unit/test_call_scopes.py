"""Calls that end with the client they belong to."""

from __future__ import annotations

import asyncio

import pytest

from services.call_scopes import CallScopes


class Over(Exception):
    """The client is closed."""


async def hanging(scopes: CallScopes, begun: asyncio.Event, ended: list[str]) -> None:
    async with scopes.call():
        begun.set()
        try:
            await asyncio.Event().wait()
        finally:
            await asyncio.sleep(0)  # as connections need turns of the loop to end
            ended.append("call")


async def test_a_call_under_way_has_ended_when_close_returns() -> None:
    scopes, begun, ended = CallScopes(Over), asyncio.Event(), list[str]()
    calls = [asyncio.create_task(hanging(scopes, begun, ended)) for _ in range(3)]
    await begun.wait()
    await asyncio.sleep(0)
    await scopes.close()
    assert ended == ["call"] * 3
    found = await asyncio.gather(*calls, return_exceptions=True)
    assert [type(each) for each in found] == [Over] * 3


async def test_after_close_no_call_begins() -> None:
    scopes = CallScopes(Over)
    await scopes.close()
    await scopes.close()
    with pytest.raises(Over):
        async with scopes.call():
            pytest.fail("it began")


async def test_a_call_that_has_ended_is_left_alone() -> None:
    scopes = CallScopes(Over)
    async with scopes.call():
        pass
    await scopes.close()


async def test_a_time_limit_of_the_call_is_its_own() -> None:
    scopes = CallScopes(Over)
    with pytest.raises(TimeoutError):
        async with scopes.call(), asyncio.timeout(0):
            await asyncio.Event().wait()
    with pytest.raises(TimeoutError):
        async with scopes.call():
            raise TimeoutError
    await scopes.close()


async def test_a_caller_that_leaves_is_not_told_of_a_closed_client() -> None:
    scopes, begun, ended = CallScopes(Over), asyncio.Event(), list[str]()
    call = asyncio.create_task(hanging(scopes, begun, ended))
    await begun.wait()
    call.cancel()
    with pytest.raises(asyncio.CancelledError):
        await call
    await scopes.close()


async def test_what_a_call_brought_in_the_last_moment_counts() -> None:
    """Its answer, or a failure of its own that it was about to tell."""
    scopes, begun = CallScopes(Over), asyncio.Event()

    async def stubborn(failure: Exception | None) -> str:
        async with scopes.call():
            begun.set()
            try:
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                if failure is not None:
                    raise failure from None
            return "done"

    calls = [asyncio.create_task(stubborn(each)) for each in (None, ValueError())]
    await begun.wait()
    await asyncio.sleep(0)
    await scopes.close()
    found = await asyncio.gather(*calls, return_exceptions=True)
    assert found[0] == "done"
    assert isinstance(found[1], ValueError)
