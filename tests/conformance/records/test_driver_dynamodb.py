"""What only DynamoDB can do to a driver: over moto, with faults put in between."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

import pytest
from botocore.awsrequest import AWSPreparedRequest, AWSResponse

from services.aws.clients import AwsClients
from services.aws.place import AwsPlace
from services.model.errors import Reason, WorkspaceError
from services.records.dynamodb import DynamoDriver, committing, identity
from services.records.dynamodb import driver as driver_module
from services.records.dynamodb.codec import attributes_of, index_entry
from services.records.dynamodb.fencing import WINDOW
from services.records.dynamodb.provision import ensure_table
from services.records.dynamodb.schema import check_table, table_definition
from services.records.dynamodb.verdict import Outcome, verdict_of
from services.records.port import ConditionFailed, DriverUnavailable, Index, Key, Match, Put
from tests.conformance.records.dynamo_faults import (
    Fault,
    Faults,
    answered,
    cancelled,
    refused,
)
from tests.conformance.records.dynamo_stores import DynamoStore, moto_clients, raw_rows
from tests.conformance.records.harness import Clock, Environment, drain, everything, put
from tests.servers import aws
from tests.servers.ports import free_port

WRITE = "TransactWriteItems"
A = Key("P#1", "a")


@pytest.fixture
async def clients(aws_environment: None) -> AsyncIterator[AwsClients]:
    """With faults of their own; moto takes one call at a time."""
    made = AwsClients(aws.clients_of(aws.moto()).place, workers=1)
    yield made
    await made.close()


@pytest.fixture
def faults(clients: AwsClients) -> Faults:
    return Faults(clients)


@pytest.fixture
async def store(environment: Environment) -> DynamoStore:
    made = DynamoStore(environment, moto_clients)
    await made.make()
    return made


@pytest.fixture
async def driver(
    store: DynamoStore, clients: AwsClients, faults: Faults, environment: Environment
) -> AsyncIterator[DynamoDriver]:
    made = await DynamoDriver.open(clients, store.table, clock=environment.clock)
    yield made
    await made.close()


async def test_the_time_of_a_commit_begins_with_its_turn(
    driver: DynamoDriver, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Many at once wait for threads; waiting must not use up the time of the calls."""
    begun, most = 0, 0
    real = committing.Committer._commit

    async def counted(self: Any, *given: Any) -> list[str]:
        nonlocal begun, most
        begun += 1
        most = max(most, begun)
        try:
            return await real(self, *given)
        finally:
            begun -= 1

    monkeypatch.setattr(committing.Committer, "_commit", counted)
    await asyncio.gather(
        *(driver.commit(f"P#{n}", [put("a", pk=f"P#{n}")]) for n in range(40))
    )
    assert most == committing._AT_ONCE


# --- what a cancelled transaction means


@pytest.mark.parametrize(
    "fault",
    [
        cancelled("TransactionConflict", "None"),
        cancelled("None", "TransactionConflict"),
        cancelled("ThrottlingError", "None"),
        cancelled("ProvisionedThroughputExceeded", "None"),
        refused("ThrottlingException"),
        refused("ProvisionedThroughputExceededException"),
        refused("InternalServerError", 500),
        refused("ServiceUnavailable", 503),
        refused("TransactionInProgressException"),
        answered(b"<html>bad gateway</html>", 502),
        answered(b"<html>sign in to this network</html>", 200),
        cancelled("None", {"PK": {"S": "FEED#x"}, "mark": {"S": "of another"}}),
    ],
)
async def test_what_did_not_happen_is_repeated(
    driver: DynamoDriver, faults: Faults, fault: Fault
) -> None:
    faults.plan(WRITE, fault, fault)
    [token] = await driver.commit("P#1", [put("a")])
    item = await driver.get(A)
    assert item is not None
    assert item.token == token
    assert faults.calls[WRITE] == 3
    assert [each.key.sk for each in await drain(driver)] == ["a"]


async def test_a_conflict_that_lasts_ends_with_nothing_written(
    driver: DynamoDriver, faults: Faults, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(committing, "_SECONDS", 0.3)
    faults.always[WRITE] = cancelled("TransactionConflict", "None")
    with pytest.raises(DriverUnavailable, match="TransactionConflict") as failed:
        await driver.commit("P#1", [put("a")])
    assert not failed.value.ambiguous
    assert await driver.get(A) is None


async def test_the_lowest_condition_that_failed_is_told_with_its_row(
    driver: DynamoDriver, faults: Faults
) -> None:
    met = attributes_of(put("b", "there"), "t1")
    faults.plan(WRITE, cancelled("TransactionConflict", met, "ConditionalCheckFailed", "None"))
    with pytest.raises(ConditionFailed) as failed:
        await driver.commit("P#1", [put("a"), put("b"), put("c")])
    assert failed.value.position == 1
    assert failed.value.current is not None
    assert (failed.value.current.body, failed.value.current.token) == ("there", "t1")
    assert faults.calls[WRITE] == 1


@pytest.mark.parametrize(
    ("reasons", "outcome", "position", "fenced"),
    [
        (["ConditionalCheckFailed", "None", "None"], Outcome.CONDITION, 0, False),
        (["None", "ConditionalCheckFailed", "ConditionalCheckFailed"], Outcome.CONDITION, 1, True),
        (["TransactionConflict", "ConditionalCheckFailed", "None"], Outcome.CONDITION, 1, False),
        (["None", "None", "ConditionalCheckFailed"], Outcome.FENCED, 2, True),
        (["None", "TransactionConflict", "None"], Outcome.PASSING, 1, False),
        (["None", "ItemCollectionSizeLimitExceeded", "None"], Outcome.FULL, 1, False),
        (["None", "ValidationError", "None"], Outcome.INVALID, 1, False),
        (["None", "SomethingNew", "None"], Outcome.INVALID, 1, False),
        ([], Outcome.INVALID, 0, False),
    ],
)
def test_reasons_of_cancellation(
    reasons: list[str], outcome: Outcome, position: int, fenced: bool
) -> None:
    verdict = verdict_of([{"Code": code} for code in reasons], 2)
    assert (verdict.outcome, verdict.position, verdict.fenced) == (outcome, position, fenced)


async def test_a_write_that_the_service_does_not_take_is_an_error(
    driver: DynamoDriver, faults: Faults
) -> None:
    faults.plan(WRITE, cancelled("ValidationError", "None"))
    with pytest.raises(WorkspaceError, match="dynamodb:PutItem"):
        await driver.commit("P#1", [put("a")])
    assert await driver.get(A) is None
    assert faults.calls[WRITE] == 1


# --- the feed and transactions that are not through yet


async def test_an_item_that_is_still_being_written_is_waited_for(
    driver: DynamoDriver, faults: Faults
) -> None:
    cursor = await driver.tail()
    await driver.commit("P#1", [put("a")])
    faults.plan("BatchGetItem", answered({"Responses": {}, "UnprocessedKeys": {}}))
    faults.plan("TransactGetItems", cancelled("TransactionConflict"))
    page = await driver.changes(cursor, 10)
    assert [item.key for item in page.items] == [A]
    assert (faults.calls["TransactGetItems"], faults.calls["BatchGetItem"]) == (1, 2)


async def test_an_item_that_has_expired_since_holds_nothing_back(
    driver: DynamoDriver, faults: Faults, clock: Clock
) -> None:
    cursor = await driver.tail()
    [token] = await driver.commit("P#1", [put("a")])
    await driver.commit(
        "P#1", [put("a", "2", condition=Match(token), expires_at=int(clock()) + 5), put("b")]
    )
    clock.now += 10
    page = await driver.changes(cursor, 10)
    assert ([item.key.sk for item in page.items], page.complete) == (["b"], True)
    assert faults.calls["TransactGetItems"] == 1


# --- unclear answers


async def test_a_commit_whose_answer_was_lost_is_found_to_have_happened(
    driver: DynamoDriver, faults: Faults
) -> None:
    faults.plan(WRITE, faults.lost_after)
    tokens = await driver.commit("P#1", [put("a", "1"), put("b")])
    assert faults.calls[WRITE] == 1
    assert [each and each.token for each in await driver.batch_get([A, Key("P#1", "b")])] == tokens
    faults.plan(WRITE, faults.lost_after)
    [later] = await driver.commit("P#1", [put("a", "2", condition=Match(tokens[0]))])
    item = await driver.get(A)
    assert item is not None
    assert (item.body, item.token) == ("2", later)
    assert sorted(each.key.sk for each in await drain(driver)) == ["a", "b"]


async def test_a_request_that_somebody_sent_twice_happened_once(
    driver: DynamoDriver, faults: Faults
) -> None:
    faults.plan(WRITE, faults.sent_twice)
    [token] = await driver.commit("P#1", [put("a")])
    item = await driver.get(A)
    assert item is not None
    assert item.token == token
    assert faults.calls[WRITE] == 1


async def test_the_second_of_two_sendings_met_what_the_first_wrote(
    driver: DynamoDriver, faults: Faults
) -> None:
    """Both its own conditions and that of its slot fail: it happened all the same."""

    def met_itself(request: AWSPreparedRequest) -> AWSResponse | None:
        faults._send(request).content  # noqa: B018 - reads the answer
        asked = json.loads(request.body)["TransactItems"]
        return cancelled(*(each["Put"]["Item"] for each in asked))(request)

    faults.plan(WRITE, met_itself)
    [token] = await driver.commit("P#1", [put("a")])
    assert [each.token for each in await drain(driver)] == [token]
    assert faults.calls[WRITE] == 1


@pytest.mark.parametrize(
    "code", ["ValidationException", "ItemCollectionSizeLimitExceededException"]
)
async def test_whatever_hinders_settling_leaves_no_slot_in_the_way(
    driver: DynamoDriver, faults: Faults, code: str
) -> None:
    await driver.commit("P#2", [put("first", pk="P#2")])
    faults.plan(WRITE, faults.lost_before)
    faults.plan("PutItem", refused(code))
    with pytest.raises(DriverUnavailable) as failed:
        await driver.commit("P#1", [put("a")])
    assert failed.value.ambiguous
    for number in range(WINDOW + 1):  # more than a lane with an open slot takes
        await driver.commit("P#2", [put(f"b{number}", pk="P#2")])


async def test_reads_under_way_end_with_the_driver(store: DynamoStore) -> None:
    driver = await DynamoDriver.open(aws.clients_of(aws.moto()), store.table)
    after = asyncio.Event()
    throttled = Faults(driver._clients)
    loop = asyncio.get_running_loop()

    def once(request: AWSPreparedRequest) -> AWSResponse | None:
        loop.call_soon_threadsafe(after.set)
        return refused("ThrottlingException")(request)

    throttled.always["GetItem"] = once
    reading = asyncio.create_task(driver.get(A))
    await after.wait()
    await driver.close()
    with pytest.raises(DriverUnavailable, match="is closed"):
        await reading


async def test_a_commit_that_was_lost_on_the_way_is_sent_again(
    driver: DynamoDriver, faults: Faults
) -> None:
    faults.plan(WRITE, faults.lost_before)
    [token] = await driver.commit("P#1", [put("a")])
    item = await driver.get(A)
    assert item is not None
    assert item.token == token
    assert faults.calls[WRITE] == 2


async def test_a_given_up_attempt_that_arrives_late_changes_nothing(
    driver: DynamoDriver, faults: Faults
) -> None:
    faults.plan(WRITE, faults.held_back)
    [first] = await driver.commit("P#1", [put("a", "1")])
    assert faults.deliver() == [400]
    item = await driver.get(A)
    assert item is not None
    assert item.token == first
    faults.plan(WRITE, faults.held_back)
    [second] = await driver.commit("P#1", [put("a", "2", condition=Match(first))])
    assert faults.deliver() == [400]
    item = await driver.get(A)
    assert item is not None
    assert (item.body, item.token) == ("2", second)


async def test_a_late_attempt_of_an_absent_row_is_fenced_by_its_slot_alone(
    driver: DynamoDriver, faults: Faults, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its own conditions would let it pass: nothing was written since."""
    monkeypatch.setattr(committing, "_SECONDS", 0.3)
    faults.plan(WRITE, faults.held_back)
    faults.always[WRITE] = refused("ThrottlingException")
    with pytest.raises(DriverUnavailable) as failed:
        await driver.commit("P#1", [put("a")])
    assert not failed.value.ambiguous
    assert faults.deliver() == [400]
    assert await driver.get(A) is None


async def test_what_cannot_be_settled_is_ambiguous(
    driver: DynamoDriver, faults: Faults, monkeypatch: pytest.MonkeyPatch
) -> None:
    await driver.commit("P#2", [put("first", pk="P#2")])
    monkeypatch.setattr(committing, "_SETTLE_SECONDS", 0.3)
    faults.plan(WRITE, faults.lost_after)
    faults.always["PutItem"] = refused("InternalServerError", 500)
    with pytest.raises(DriverUnavailable) as failed:
        await driver.commit("P#1", [put("a")])
    assert failed.value.ambiguous
    faults.always.clear()
    assert await driver.get(A) is not None
    await driver.commit("P#2", [put("b", pk="P#2")])
    assert sorted(each.key.sk for each in await drain(driver)) == ["a", "b", "first"]


async def test_a_caller_who_leaves_does_not_stop_a_commit(
    driver: DynamoDriver, faults: Faults
) -> None:
    under_way = asyncio.Event()
    loop = asyncio.get_running_loop()

    def told(_: AWSPreparedRequest) -> AWSResponse | None:
        loop.call_soon_threadsafe(under_way.set)
        return None

    faults.plan(WRITE, told)
    caller = asyncio.create_task(driver.commit("P#1", [put("a")]))
    await under_way.wait()
    caller.cancel()
    with pytest.raises(asyncio.CancelledError):
        await caller
    await driver._commits.wait()
    assert [each.key.sk for each in await drain(driver)] == ["a"]


# --- reads


@pytest.mark.parametrize("operation", ["GetItem", "BatchGetItem", "Query", "Scan"])
@pytest.mark.parametrize(
    "fault",
    [
        refused("ThrottlingException"),
        refused("InternalServerError", 500),
        answered(b"<html>bad gateway</html>", 502),
        answered(b"<html>sign in to this network</html>", 200),
    ],
)
async def test_reads_are_repeated(
    driver: DynamoDriver, faults: Faults, operation: str, fault: Fault
) -> None:
    await driver.commit("P#1", [put("a", indexes={Index.TEAM: ("T", "x")})])
    faults.plan(operation, fault, fault)
    assert await driver.get(A) is not None
    assert await driver.batch_get([A, Key("P#1", "b")]) == [await driver.get(A), None]
    assert len((await driver.query(Index.TEAM, "T")).items) == 1
    assert len(await driver.scan(None, 10)) == 1


async def test_unprocessed_keys_are_asked_for_again(driver: DynamoDriver, faults: Faults) -> None:
    keys = [Key("P#1", f"{n:03}") for n in range(250)]
    for at in range(0, 250, 90):
        await driver.commit("P#1", [put(key.sk, key.sk) for key in keys[at : at + 90]])

    def nothing(request: AWSPreparedRequest) -> AWSResponse | None:
        asked = json.loads(request.body)["RequestItems"]
        return answered({"Responses": {}, "UnprocessedKeys": asked})(request)

    def half(request: AWSPreparedRequest) -> AWSResponse | None:
        [(table, asked)] = json.loads(request.body)["RequestItems"].items()
        left = {**asked, "Keys": asked["Keys"][1::2]}
        request.body = json.dumps(
            {"RequestItems": {table: {**asked, "Keys": asked["Keys"][::2]}}}
        ).encode()
        request.headers["Content-Length"] = str(len(request.body))
        told = json.loads(faults._send(request).content)
        return answered({**told, "UnprocessedKeys": {table: left}})(request)

    faults.plan("BatchGetItem", nothing, half, nothing, half)
    wanted = [*reversed(keys), Key("P#1", "none"), keys[7]]
    got = await driver.batch_get(wanted)
    assert [item and item.key for item in got] == [*reversed(keys), None, keys[7]]


async def test_an_index_entry_that_lags_shows_nothing(
    driver: DynamoDriver, faults: Faults
) -> None:
    """The index still tells of an entry that the row no longer has, and of a lost row."""
    [token] = await driver.commit("P#1", [put("a", indexes={Index.TEAM: ("T", "1")})])
    entries: list[dict[str, Any]] = [
        {
            "PK": {"S": "P#1"}, "SK": {"S": sk},
            "GSI2PK": {"S": "T"}, "GSI2SK": {"S": index_entry("1", Key("P#1", sk))},
        }
        for sk in ("a", "gone")
    ]  # fmt: skip
    faults.plan("Query", answered({"Items": entries, "Count": 2}))
    assert [i.key.sk for i in (await driver.query(Index.TEAM, "T")).items] == ["a"]
    await driver.commit("P#1", [put("a", condition=Match(token), indexes={Index.TEAM: ("T", "2")})])
    faults.plan("Query", answered({"Items": entries, "Count": 2}))
    assert (await driver.query(Index.TEAM, "T", upper="2")).items == []


async def test_pages_of_a_megabyte_and_empty_ones_are_gone_through(
    driver: DynamoDriver, faults: Faults
) -> None:
    for number in range(5):
        await driver.commit("P#1", [put(f"{number}", "x" * 350_000)])
    faults.plan(
        "Query", answered({"Items": [], "Count": 0, "LastEvaluatedKey": _at("P#1", "!")})
    )
    page = await driver.query(Index.BASE, "P#1", limit=10)
    assert ([item.key.sk for item in page.items], page.next) == (list("01234"), None)
    assert [item.key.sk for item in await everything(driver)] == list("01234")


async def test_a_scan_steps_over_the_rows_of_the_driver(
    driver: DynamoDriver, faults: Faults
) -> None:
    for number in range(12):
        await driver.commit(f"P#{number % 2}", [put(f"{number}", pk=f"P#{number % 2}")])
    faults.calls.clear()
    found = await everything(driver, 1)
    assert len(found) == 12
    assert faults.calls["Scan"] < 12 + 6  # the lane alone has as many rows
    assert (await driver.query(Index.BASE, "FEED")).items == []
    async for row in raw_rows(moto_clients(), driver._table):
        key = Key(row["PK"]["S"], row["SK"]["S"])
        assert (await driver.get(key) is None) == key.pk.startswith("FEED")


# --- limits, before any call


@pytest.mark.parametrize(
    "puts",
    [
        [put(f"{n}") for n in range(100)],
        [put("a", "x" * 410_000)],
        [put(f"{n}", "x" * 390_000) for n in range(11)],
        [put("a", indexes={Index.TEAM: ("T", "x" * 1000)})],
    ],
    ids=["100 writes", "an item", "together", "an index"],
)
async def test_what_no_transaction_holds_is_refused_before_the_call(
    driver: DynamoDriver, faults: Faults, puts: list[Put]
) -> None:
    with pytest.raises(WorkspaceError) as refusal:
        await driver.commit("P#1", puts)
    assert refusal.value.reason == Reason.ERROR_REASON_INVALID_FIELD
    assert faults.calls[WRITE] == 0


async def test_99_writes_and_long_keys_go_into_one_commit(driver: DynamoDriver) -> None:
    puts = [
        put(f"{n:02}{'k' * 500}", indexes={Index.TEAM: ("T", "s" * 500)}) for n in range(99)
    ]
    tokens = await driver.commit("P#1", puts)
    assert len(tokens) == 99
    page = await driver.query(Index.TEAM, "T", limit=200)
    assert sorted(item.key.sk for item in page.items) == [each.key.sk for each in puts]
    assert page.items[0].indexes == {Index.TEAM: ("T", "s" * 500)}


async def test_the_partitions_of_the_driver_are_not_to_be_written(driver: DynamoDriver) -> None:
    with pytest.raises(ValueError, match="driver's own"):
        await driver.commit("FEED#x", [put("a", pk="FEED#x")])


# --- opening


async def test_a_missing_table_names_the_command_that_makes_it(clients: AwsClients) -> None:
    with pytest.raises(WorkspaceError, match=r"wm-nowhere.*wm setup aws"):
        await DynamoDriver.open(clients, "wm-nowhere")


@pytest.mark.parametrize(
    ("operation", "fault", "message"),
    [
        ("DescribeTable", refused("AccessDeniedException"), "dynamodb:DescribeTable.*IAM"),
        ("PutItem", refused("AccessDeniedException"), "dynamodb:PutItem.*IAM"),
        ("GetItem", refused("ExpiredTokenException"), "sign in again"),
        ("DescribeTable", refused("UnrecognizedClientException"), "AWS_PROFILE"),
        (
            "DescribeTable",
            refused("InvalidSignatureException", message="Signature expired: it is later"),
            "clock of this machine",
        ),
    ],
)
async def test_what_hinders_opening_is_told_with_its_remedy(
    store: DynamoStore, clients: AwsClients, faults: Faults, operation: str, fault: Fault,
    message: str,
) -> None:  # fmt: skip
    faults.always[operation] = fault
    with pytest.raises(WorkspaceError, match=message):
        await DynamoDriver.open(clients, store.table)


async def test_denied_while_serving_names_the_action(driver: DynamoDriver, faults: Faults) -> None:
    faults.plan(WRITE, refused("AccessDeniedException"))
    with pytest.raises(DriverUnavailable, match="dynamodb:PutItem") as failed:
        await driver.commit("P#1", [put("a")])
    assert not failed.value.ambiguous
    assert faults.calls[WRITE] == 1


async def test_without_credentials_the_remedy_is_named(
    store: DynamoStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    bare = AwsClients(store.clients.place)
    with pytest.raises(WorkspaceError, match="aws sso login"):
        await DynamoDriver.open(bare, store.table)
    await bare.close()


async def test_an_endpoint_that_is_down_is_told(
    aws_environment: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(driver_module, "_OPEN_SECONDS", 0.3)
    down = AwsClients(AwsPlace(aws.REGION, endpoint=f"http://127.0.0.1:{free_port()}"))
    with pytest.raises(WorkspaceError, match="repeat later"):
        await DynamoDriver.open(down, "wm-table")
    await down.close()


async def test_a_table_that_is_being_made_is_waited_for(
    store: DynamoStore, clients: AwsClients, faults: Faults
) -> None:
    made = {**table_definition(store.table), "TableStatus": "CREATING"}
    filling = {**table_definition(store.table), "TableStatus": "ACTIVE"}
    filling["GlobalSecondaryIndexes"][1]["IndexStatus"] = "CREATING"
    faults.plan("DescribeTable", answered({"Table": made}), answered({"Table": filling}))
    driver = await DynamoDriver.open(clients, store.table)
    assert faults.calls["DescribeTable"] == 3
    await driver.close()


@pytest.mark.parametrize("status", ["DELETING", "INACCESSIBLE_ENCRYPTION_CREDENTIALS", "ARCHIVED"])
async def test_a_table_in_a_bad_state_is_refused(
    store: DynamoStore, clients: AwsClients, faults: Faults, status: str
) -> None:
    described = {**table_definition(store.table), "TableStatus": status}
    faults.plan("DescribeTable", answered({"Table": described}))
    with pytest.raises(WorkspaceError, match=status.lower()):
        await DynamoDriver.open(clients, store.table)


async def test_a_table_of_another_schema_is_refused(
    clients: AwsClients, environment: Environment
) -> None:
    store = DynamoStore(environment, moto_clients)
    definition = table_definition(store.table)
    definition["KeySchema"][1]["AttributeName"] = "GSI1SK"
    del definition["GlobalSecondaryIndexes"][3]
    definition["AttributeDefinitions"] = [
        each for each in definition["AttributeDefinitions"]
        if each["AttributeName"] not in ("SK", "GSI4PK", "GSI4SK")
    ]  # fmt: skip
    await clients.call("dynamodb", "create_table", **definition)
    with pytest.raises(WorkspaceError) as refusal:
        await DynamoDriver.open(clients, store.table)
    assert refusal.value.reason == Reason.ERROR_REASON_INVALID_STATE
    assert "the table has the keys PK, GSI1SK, not PK, SK" in refusal.value.message
    assert "index GSI4 is missing" in refusal.value.message


def test_a_number_as_a_key_is_another_schema() -> None:
    definition = table_definition("t")
    definition["AttributeDefinitions"][1]["AttributeType"] = "N"
    with pytest.raises(WorkspaceError, match="SK is of type N"):
        check_table(definition)


@pytest.mark.parametrize(
    ("replicas", "expected"),
    [
        ([], False),
        ([{"RegionName": "eu-central-1"}], False),
        ([{"RegionName": "us-east-1"}], True),
        ([{"RegionName": "eu-central-1"}, {"RegionName": "us-east-1"}], True),
    ],
)
def test_regions_side_by_side_are_declared(replicas: list[Any], expected: bool) -> None:
    arn = "arn:aws:dynamodb:eu-central-1:123456789012:table/t"
    assert check_table({**table_definition("t"), "TableArn": arn, "Replicas": replicas}) is expected


async def test_a_driver_over_a_global_table_says_so(
    store: DynamoStore, clients: AwsClients, faults: Faults
) -> None:
    described = {**table_definition(store.table), "Replicas": [
        {"RegionName": "us-east-1"}, {"RegionName": "eu-central-1"}]}
    faults.plan("DescribeTable", answered({"Table": described}))
    driver = await DynamoDriver.open(clients, store.table)
    assert driver.capabilities.last_writer_wins
    await driver.close()


def test_a_table_without_transactions_is_refused() -> None:
    with pytest.raises(WorkspaceError, match="no transactions"):
        check_table({**table_definition("t"), "MultiRegionConsistency": "STRONG"})


async def test_reading_alone_writes_nothing(
    store: DynamoStore, clients: AwsClients, faults: Faults
) -> None:
    with pytest.raises(WorkspaceError, match="holds no workspace yet"):
        await DynamoDriver.open(clients, store.table, read_only=True)
    writer = await store.open()
    await writer.commit("P#1", [put("a")])
    faults.calls.clear()
    reader = await DynamoDriver.open(
        AwsClients(clients.place, workers=1), store.table, read_only=True
    )
    assert await reader.identity() == await writer.identity()
    assert [each.key.sk for each in await drain(reader)] == ["a"]
    await reader.close()
    assert not {"PutItem", WRITE} & faults.calls.keys()


async def test_an_emptied_table_is_another_store(store: DynamoStore) -> None:
    first = await store.open()
    await first.commit("P#1", [put("a")])
    before = await first.identity()
    cursor = await first.tail()
    async for row in raw_rows(store.clients, store.table):
        key = {name: row[name] for name in ("PK", "SK")}
        await store.clients.call("dynamodb", "delete_item", TableName=store.table, Key=key)
    assert await first.identity() != before
    second = await store.open()
    assert await second.identity() == await first.identity()
    assert json.loads(cursor)[0] == before
    await first.commit("P#1", [put("b")])  # in a lane that the table lists
    assert [each.key.sk for each in await drain(second)] == ["b"]
    cursor = await second.tail()
    await first.commit("P#1", [put("c")])
    assert [each.key.sk for each in (await second.changes(cursor, 9)).items] == ["c"]


async def test_a_table_restored_under_its_name_is_another_store(
    driver: DynamoDriver, faults: Faults, monkeypatch: pytest.MonkeyPatch
) -> None:
    await driver.commit("P#1", [put("a")])
    before = await driver.identity()
    monkeypatch.setattr(identity, "_KNOWN_SECONDS", 0.0)
    faults.plan("DescribeTable", refused("ThrottlingException"), refused("AccessDeniedException"))
    assert await driver.identity() == before  # nothing is known of it
    faults.always["DescribeTable"] = answered({"Table": {"TableId": "another"}})
    assert "another" in await driver.identity()
    assert await driver.identity() == await driver.identity() != before
    await driver.commit("P#1", [put("b")])
    assert sorted(each.key.sk for each in await drain(driver)) == ["a", "b"]


async def test_making_a_table_twice_changes_nothing(store: DynamoStore) -> None:
    described = await ensure_table(store.clients, store.table)
    assert check_table(described) is False
    answer = await store.clients.call(
        "dynamodb", "describe_time_to_live", TableName=store.table
    )
    assert answer["TimeToLiveDescription"] == {
        "TimeToLiveStatus": "ENABLED", "AttributeName": "expires_at",
    }  # fmt: skip


# --- texts of index entries


def test_index_entries_keep_the_order_of_sort_and_keys() -> None:
    triples = [
        (sort, pk, sk)
        for sort in ("", "a", "a!", "a~", "b")
        for pk in ("P", "P!", "P#1")
        for sk in ("S", "S!", "T")
    ]
    entries = [index_entry(sort, Key(pk, sk)) for sort, pk, sk in triples]
    by_entry = sorted(triples, key=lambda each: entries[triples.index(each)].encode())
    assert by_entry == sorted(triples)


def test_a_long_index_entry_is_cut_and_stays_distinct() -> None:
    entries = {
        index_entry("s" * 500, Key("p" * 512, f"{'k' * 505}{n}")).encode() for n in range(50)
    }
    assert len(entries) == 50
    assert {len(entry) for entry in entries} == {1024}


def _at(pk: str, sk: str) -> dict[str, Any]:
    return {"PK": {"S": pk}, "SK": {"S": sk}}
