"""Commits to Cosmos DB: what did not happen is repeated, what did is never denied."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from azure.core.exceptions import ServiceResponseError
from azure.cosmos.exceptions import CosmosHttpResponseError

from services.records.cosmos import CosmosDriver, committing
from services.records.cosmos.codec import version_of
from services.records.cosmos.schema import OWN_PK
from services.records.port import ConditionFailed, DriverUnavailable, Index, Key, Match
from tests.conformance.records.cosmos.lost_answers import LostAnswers
from tests.conformance.records.cosmos_stores import CosmosStore, SweptContainer
from tests.conformance.records.harness import Clock, everything, put
from tests.fakes.cosmos.client import CosmosControl

A, B = Key("P#1", "a"), Key("P#1", "b")
SURELY_NOT = [
    "THROTTLED", "RETRY_WITH", "UNAVAILABLE", "TIMEOUT", "BROKEN", "WRITE_FORBIDDEN", "CUT",
]  # fmt: skip
MAYBE_AFTER = ["UNAVAILABLE_AFTER", "TIMEOUT_AFTER", "BROKEN_AFTER", "CUT_AFTER"]


async def test_what_a_batch_wrote_a_point_read_finds(driver: CosmosDriver) -> None:
    """Ids that batches take and reads do not are the trap of this service."""
    sks = [f"METADATA#{chr(code)}{tail}" for code in range(0x20, 0x7F) for tail in ("", "x")]
    sks += ["/", "\\", "?", "#", "%2F", "%", "~", "~~", ".", "..", " ", "a ", "+", '"']
    sks += ["x" * 512, "#" * 512]
    for at in range(0, len(sks), 100):
        await driver.commit("P#1", [put(sk) for sk in sks[at : at + 100]])
    for sk in sks:
        item = await driver.get(Key("P#1", sk))
        assert item is not None, sk
        assert item.key.sk == sk


async def test_keys_of_one_beginning_that_are_too_long_for_an_id_are_different(
    driver: CosmosDriver,
) -> None:
    one, two = "#" * 511 + "a", "#" * 511 + "b"
    await driver.commit("P#1", [put(one, "1"), put(two, "2")])
    found = await driver.batch_get([Key("P#1", one), Key("P#1", two)])
    assert [item.body for item in found if item] == ["1", "2"]


async def test_a_commit_is_one_request(driver: CosmosDriver, fake: CosmosControl) -> None:
    await driver.commit("P#1", [put(f"{n}") for n in range(98)])
    assert fake.counts() == {"batch": 1}


@pytest.mark.parametrize("fault", SURELY_NOT)
async def test_what_did_not_happen_is_repeated_by_us_alone(
    driver: CosmosDriver, fake: CosmosControl, fault: str
) -> None:
    fake.fail(fault, "batch")
    [token] = await driver.commit("P#1", [put("a", "1")])
    item = await driver.get(A)
    assert item is not None
    assert (item.body, item.token) == ("1", token)
    assert fake.faults_done() == {fault: 1}
    assert fake.counts()["batch"] == 2


@pytest.mark.parametrize("fault", MAYBE_AFTER)
async def test_a_commit_whose_answer_was_lost_is_found_to_have_happened(
    driver: CosmosDriver, fake: CosmosControl, fault: str
) -> None:
    fake.fail(fault, "batch")
    tokens = await driver.commit("P#1", [put("a"), put("b")])
    found = await driver.batch_get([A, B])
    assert [item.token for item in found if item] == tokens
    assert fake.counts()["batch"] == 1


async def test_a_service_that_falls_silent_is_given_up(
    store: CosmosStore, fake: CosmosControl
) -> None:
    driver = await store.open(call_seconds=2.0)
    fake.fail("SILENT_AFTER", "batch")
    [token] = await driver.commit("P#1", [put("a")])
    item = await driver.get(A)
    assert item is not None
    assert item.token == token


async def test_without_settling_a_commit_would_fail_on_its_own_rows(
    driver: CosmosDriver, fake: CosmosControl, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(committing._Commit, "_landed", lambda *_: None)
    monkeypatch.setattr(committing._Commit, "_has_untouched", lambda *_: True)
    fake.fail("CUT_AFTER", "batch")
    with pytest.raises(ConditionFailed):
        await driver.commit("P#1", [put("a")])


async def test_an_attempt_that_arrives_late_happens_once(driver: CosmosDriver) -> None:
    """The second attempt meets what the first one wrote."""
    lost = LostAnswers(driver, arrives=False, late=True)
    tokens = await driver.commit("P#1", [put("a", "1"), put("b", "2")])
    found = await driver.batch_get([A, B])
    assert [(item.body, item.token) for item in found if item] == [
        ("1", tokens[0]), ("2", tokens[1]),
    ]  # fmt: skip
    assert lost.sent == 2


async def test_a_late_replacement_happens_once(driver: CosmosDriver) -> None:
    [old] = await driver.commit("P#1", [put("a", "1")])
    LostAnswers(driver, arrives=False, late=True)
    [token] = await driver.commit("P#1", [put("a", "2", condition=Match(old))])
    item = await driver.get(A)
    assert item is not None
    assert (item.body, item.token) == ("2", token)


async def test_a_row_written_again_meanwhile_has_a_token_that_never_matches(
    driver: CosmosDriver, store: CosmosStore
) -> None:
    other = await store.open()

    async def overwrite() -> None:
        item = await other.get(A)
        assert item is not None
        await other.commit("P#1", [put("a", "theirs", condition=Match(item.token))])

    LostAnswers(driver, arrives=True, meanwhile=overwrite)
    first, second = await driver.commit("P#1", [put("a"), put("b")])
    with pytest.raises(ConditionFailed) as failed:
        await driver.commit("P#1", [put("a", "ours", condition=Match(first))])
    assert failed.value.current is not None
    assert failed.value.current.body == "theirs"
    await driver.commit("P#1", [put("b", "ours", condition=Match(second))])


async def test_a_row_alone_that_another_has_now_cannot_be_told(
    driver: CosmosDriver, store: CosmosStore
) -> None:
    """It may be that ours came first."""
    other = await store.open()
    [old] = await other.commit("P#1", [put("a", "0")])

    async def overtake() -> None:
        await other.commit("P#1", [put("a", "theirs", condition=Match(old))])

    LostAnswers(driver, arrives=False, meanwhile=overtake)
    with pytest.raises(DriverUnavailable) as failed:
        await driver.commit("P#1", [put("a", "ours", condition=Match(old))])
    assert failed.value.ambiguous


async def test_a_race_lost_after_a_lost_answer_is_told_by_the_untouched_rows(
    driver: CosmosDriver, store: CosmosStore
) -> None:
    other = await store.open()
    LostAnswers(driver, arrives=False, meanwhile=lambda: other.commit("P#1", [put("b", "theirs")]))
    with pytest.raises(ConditionFailed) as failed:
        await driver.commit("P#1", [put("a"), put("b"), put("c")])
    assert failed.value.position == 1
    assert failed.value.current == await other.get(B)
    assert [item.key for item in await everything(driver)] == [B]


async def test_a_row_that_expired_since_does_not_prove_that_ours_was_not_written(
    driver: CosmosDriver, store: CosmosStore, clock: Clock
) -> None:
    """A lease: ours was written, another followed, and has expired. Ours is not written again."""
    other = await store.open()

    async def follow() -> None:
        item = await other.get(A)
        assert item is not None
        theirs = put("a", "theirs", condition=Match(item.token), expires_at=1_000_005)
        await other.commit("P#1", [theirs])
        clock.now += 10

    LostAnswers(driver, arrives=True, meanwhile=follow)
    with pytest.raises(DriverUnavailable) as failed:
        await driver.commit("P#1", [put("a", "ours")])
    assert failed.value.ambiguous
    assert await driver.get(A) is None


@pytest.mark.parametrize("arrives", [True, False])
async def test_a_refusal_after_an_answer_that_was_lost_denies_nothing(
    driver: CosmosDriver, monkeypatch: pytest.MonkeyPatch, arrives: bool
) -> None:
    """The first attempt arrives after the look at the rows; the second is refused for good."""
    calls: Any = driver._calls
    real, sent = calls.batch, list[int]()

    async def batch(pk: str, operations: Any) -> Any:
        sent.append(len(sent))
        if len(sent) == 1:
            raise ServiceResponseError("the connection broke")
        if arrives:
            await real(pk, operations)
        made: Any = CosmosHttpResponseError
        refused = made(status_code=403, message="full")
        refused.sub_status = 1014
        raise refused

    monkeypatch.setattr(calls, "batch", batch)
    if arrives:
        [token] = await driver.commit("P#1", [put("a")])
        item = await driver.get(A)
        assert item is not None
        assert item.token == token
    else:
        with pytest.raises(DriverUnavailable) as failed:
            await driver.commit("P#1", [put("a")])
        assert failed.value.ambiguous
    assert len(sent) == 2


async def test_what_cannot_be_read_back_is_ambiguous(
    driver: CosmosDriver, fake: CosmosControl, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(committing, "_SECONDS", 0.5)
    monkeypatch.setattr(committing, "_SETTLE_SECONDS", 0.5)
    fake.plan([
        {"fault": "CUT_AFTER", "operation": "batch"},
        {"fault": "UNAVAILABLE", "operation": "read", "times": 10_000},
    ])  # fmt: skip
    with pytest.raises(DriverUnavailable) as failed:
        await driver.commit("P#1", [put("a")])
    assert failed.value.ambiguous


async def test_throttling_is_waited_for_as_long_as_the_service_asks(
    driver: CosmosDriver, fake: CosmosControl
) -> None:
    fake.fail("THROTTLED", "batch", times=3, retry_after_ms=30)
    await driver.commit("P#1", [put("a")])
    assert fake.counts() == {"batch": 4}


async def test_throttling_beyond_the_deadline_ends_with_nothing_written(
    driver: CosmosDriver, fake: CosmosControl
) -> None:
    fake.fail("THROTTLED", "batch", times=1000, retry_after_ms=60_000)
    with pytest.raises(DriverUnavailable) as failed:
        await driver.commit("P#1", [put("a")])
    assert not failed.value.ambiguous
    assert fake.counts() == {"batch": 1}
    assert await driver.get(A) is None


async def test_an_expired_version_is_refused_without_a_call(
    driver: CosmosDriver, fake: CosmosControl, clock: Clock
) -> None:
    [token] = await driver.commit("P#1", [put("a", expires_at=1_000_010)])
    clock.now += 10
    fake.reset()
    with pytest.raises(ConditionFailed) as failed:
        await driver.commit("P#1", [put("a", condition=Match(token))])
    assert failed.value.current is None
    assert "batch" not in fake.counts()


async def test_an_expired_row_that_is_still_there_is_replaced_under_its_etag(
    driver: CosmosDriver, fake: CosmosControl, clock: Clock
) -> None:
    await driver.commit("P#1", [put("a", "old", expires_at=1_000_010)])
    clock.now += 10
    fake.reset()
    await driver.commit("P#1", [put("b"), put("a", "new"), put("c")])
    assert [item.body for item in await everything(driver)] == ["new", "{}", "{}"]
    counts = fake.counts()
    assert (counts["batch"], counts["read"]) == (2, 1)


async def test_rows_are_removed_by_the_service_a_day_after_they_expired(
    driver: CosmosDriver, fake: CosmosControl, clock: Clock
) -> None:
    await driver.commit("P#1", [put("a", expires_at=int(clock.now) + 60)])
    for seconds, left in ((60 + 24 * 3600 - 5, 1), (10, 0)):
        fake.advance(seconds)
        item = await driver.get(A)  # the clock of the driver stands still
        assert (item is not None) == bool(left)


async def test_what_no_batch_holds_is_refused_before_the_call(
    driver: CosmosDriver, fake: CosmosControl
) -> None:
    large = "x" * (1024 * 1024)
    for puts in ([put(f"{n}") for n in range(101)], [put("a", large), put("b", large)]):
        with pytest.raises(Exception, match="Cosmos DB takes") as failed:
            await driver.commit("P#1", puts)
        assert not isinstance(failed.value, DriverUnavailable)
    assert fake.counts() == {}


async def test_what_the_kernel_allows_goes_into_one_batch(driver: CosmosDriver) -> None:
    """98 rows of 1.8 MB, of texts full of quotes, beside long keys."""
    body = '{"title":"é \\"so\\"\\n"}' * 795
    puts = [put(f"{n:03}" + "#" * 250, body) for n in range(98)]
    assert sum(len(each.body.encode()) for each in puts) < 1_800_000
    await driver.commit("P#1", puts)
    page = await driver.query(Index.BASE, "P#1", limit=98)
    assert {item.body for item in page.items} == {body}


async def test_the_partition_of_the_driver_is_not_to_be_written(driver: CosmosDriver) -> None:
    with pytest.raises(ValueError, match="own"):
        await driver.commit(OWN_PK, [put("a", pk=OWN_PK)])
    assert await driver.get(Key(OWN_PK, "STORE")) is None
    assert (await driver.query(Index.BASE, OWN_PK)).items == []


async def test_a_caller_who_leaves_does_not_stop_a_commit(
    driver: SweptContainer, store: CosmosStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    reached, goes_on = asyncio.Event(), asyncio.Event()
    real = driver._calls.batch

    async def slow(*given: object) -> object:
        reached.set()
        await goes_on.wait()
        return await real(*given)  # type: ignore[arg-type]

    monkeypatch.setattr(driver._calls, "batch", slow)
    caller = asyncio.create_task(driver.commit("P#1", [put("a")]))
    await reached.wait()
    caller.cancel()
    await asyncio.gather(caller, return_exceptions=True)
    goes_on.set()
    await driver.close()
    assert await (await store.open()).get(A) is not None
    with pytest.raises(DriverUnavailable):
        await driver.get(A)


async def test_an_answer_that_is_not_of_the_service_is_no_success(
    driver: SweptContainer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A proxy's page with status 200, say."""
    real, seen = driver._calls.proxy.execute_item_batch, []

    async def strange(*given: object, **more: object) -> object:
        seen.append(given)
        return [] if len(seen) == 1 else await real(*given, **more)  # type: ignore[arg-type]

    monkeypatch.setattr(driver._calls.proxy, "execute_item_batch", strange)
    [token] = await driver.commit("P#1", [put("a")])
    assert version_of(token) is not None
    assert len(seen) == 2
    assert await driver.get(A) is not None
