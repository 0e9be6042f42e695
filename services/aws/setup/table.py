"""The plan of the table: each property against what is wanted."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from services.aws.setup.desired import Baseline
from services.aws.setup.table_state import TableState
from services.aws.setup.tags import TAGS, as_list
from services.model.errors import WorkspaceError
from services.records.dynamodb.schema import TTL_ATTRIBUTE, check_table, table_definition
from services.setup.patience import refused
from services.setup.plan import Call, Step, Verb, compared
from services.setup.tags import missing_tags

__all__ = ["creation", "plan_table"]

_REGIONS = "let one region write only: of two writes side by side one would vanish"


def plan_table(wanted: Baseline, there: TableState | None) -> list[Step]:
    """The steps. Raises INVALID_STATE for a table that has another use."""
    return list(_steps(wanted, there))


def creation(wanted: Baseline) -> dict[str, Any]:
    """The parameters of CreateTable."""
    more: dict[str, Any] = {"SSESpecification": _sse(wanted.kms_key)} if wanted.kms_key else {}
    if wanted.tags:
        more["Tags"] = as_list(wanted.tags)
    return {**table_definition(wanted.table), **more, "DeletionProtectionEnabled": True}


def _steps(wanted: Baseline, there: TableState | None) -> Iterator[Step]:
    name = f"table {wanted.table}"
    if there is None:
        yield from _new(name, wanted)
        there = TableState({})
    else:
        replicated = _check(name, there)
        yield Step(name, "table", Verb.KEEP, "PK, SK and four indexes", "PK, SK and four indexes")
        if replicated:
            yield Step(name, "regions", Verb.LEAVE, _REGIONS, "a global table")
        yield from _changed(name, wanted, there)
    yield _recovery(name, wanted, there)
    yield _ttl(name, wanted, there)


def _new(name: str, wanted: Baseline) -> Iterator[Step]:
    call = Call("dynamodb", "create_table", creation(wanted), settle="table")
    yield Step(name, "table", Verb.CREATE, "PK, SK and four indexes", "", [call])
    key = wanted.kms_key or "AWS owned key"
    for what, value in (
        ("billing", "on demand"), ("deletion protection", "on"), ("encryption", key),
        ("tags", TAGS.shown(wanted.tags)),
    ):  # fmt: skip
        yield Step(name, what, Verb.CREATE, value)


def _check(name: str, there: TableState) -> bool:
    """Whether it is a global table."""
    try:
        replicated = check_table(there.description)
    except WorkspaceError as error:
        raise refused(
            f"{error.message}; nothing was changed: {name} has another use, name another with "
            "--prefix or AWS_DYNAMODB_TABLE",
            field="table",
        ) from None
    if there.ttl not in ("", TTL_ATTRIBUTE):
        raise refused(
            f"{name} expires its rows by '{there.ttl}', not by '{TTL_ATTRIBUTE}': switch that "
            "off (it takes an hour), or name another table; nothing was changed",
            field="table",
        )
    return replicated


def _changed(name: str, wanted: Baseline, there: TableState) -> Iterator[Step]:
    yield compared(
        name, "billing", wanted="on demand", was="on demand" if there.on_demand else "provisioned",
        good=there.on_demand, calls=[_update(wanted, BillingMode="PAY_PER_REQUEST")],
    )  # fmt: skip
    yield compared(
        name, "deletion protection", wanted="on", was="on" if there.protected else "off",
        good=there.protected, calls=[_update(wanted, DeletionProtectionEnabled=True)],
    )  # fmt: skip
    yield compared(
        name, "encryption", wanted=wanted.kms_key or "AWS owned key",
        was=there.kms_key or "AWS owned key", good=wanted.kms_key in ("", there.kms_key),
        calls=[_update(wanted, SSESpecification=_sse(wanted.kms_key))],
    )  # fmt: skip
    missing = missing_tags(wanted.tags, there.tags)
    call = Call("dynamodb", "tag_resource", {"ResourceArn": there.arn, "Tags": as_list(missing)})
    yield compared(
        name, "tags", wanted=TAGS.shown(wanted.tags), was=TAGS.shown(there.tags),
        good=not missing, calls=[call],
    )  # fmt: skip


def _recovery(name: str, wanted: Baseline, there: TableState) -> Step:
    specification = {"PointInTimeRecoveryEnabled": True}
    parameters = {
        "TableName": wanted.table, "PointInTimeRecoverySpecification": specification
    }  # fmt: skip
    return compared(
        name, "point-in-time recovery", wanted="on", was=_on_off(there, on=there.recovery),
        good=there.recovery, calls=[Call("dynamodb", "update_continuous_backups", parameters)],
    )  # fmt: skip


def _ttl(name: str, wanted: Baseline, there: TableState) -> Step:
    specification = {"Enabled": True, "AttributeName": TTL_ATTRIBUTE}
    parameters = {"TableName": wanted.table, "TimeToLiveSpecification": specification}
    was = f"by {there.ttl}" if there.ttl else _on_off(there, on=False)
    return compared(
        name, "expiry", wanted=f"by {TTL_ATTRIBUTE}", was=was,
        good=there.ttl == TTL_ATTRIBUTE,
        calls=[Call("dynamodb", "update_time_to_live", parameters)],
    )  # fmt: skip


def _on_off(there: TableState, *, on: bool) -> str:
    return "" if not there.description else "on" if on else "off"


def _update(wanted: Baseline, **parameters: Any) -> Call:
    return Call("dynamodb", "update_table", {"TableName": wanted.table, **parameters}, "table")


def _sse(kms_key: str) -> dict[str, Any]:
    return {"Enabled": True, "SSEType": "KMS", "KMSMasterKeyId": kms_key}
