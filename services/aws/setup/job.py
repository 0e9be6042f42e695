"""One setup: who we are, what is there, the plan, and doing it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from services.aws.clients import AwsClients
from services.aws.setup.api import SetupApi
from services.aws.setup.bucket import plan_bucket
from services.aws.setup.bucket_state import read_bucket
from services.aws.setup.desired import Baseline
from services.aws.setup.names import Target
from services.aws.setup.table import plan_table
from services.aws.setup.table_state import describe, read_table
from services.model.errors import Reason, WorkspaceError
from services.setup.plan import Call, Step, Told, changes_of

__all__ = ["AwsSetup", "Plan", "apply_plan", "make_plan"]

_TABLE_SECONDS = 600.0
_BUCKET_SECONDS = 60.0


@dataclass(frozen=True, slots=True)
class Plan:
    """What a setup would do in an account."""

    account: str
    wanted: Baseline
    steps: Sequence[Step]
    notes: Sequence[str] = ()

    @property
    def heading(self) -> str:
        return f"AWS account {self.account}, region {self.wanted.region}"

    @property
    def scope(self) -> str:
        return f"account {self.account}"

    @property
    def members(self) -> Mapping[str, str]:
        return {"account": self.account, "region": self.wanted.region}

    @property
    def changes(self) -> list[Step]:
        return changes_of(self.steps)


class AwsSetup:
    """One run (services/setup/plan.py: Setup)."""

    def __init__(self, target: Target) -> None:
        self._wanted = target.baseline
        self._clients = AwsClients(target.place, workers=4)
        self._api = SetupApi(self._clients)
        self._plan: Plan | None = None

    async def plan(self) -> Plan:
        self._plan = await make_plan(self._api, self._wanted)
        return self._plan

    async def apply(self, told: Told) -> None:
        plan = self._plan or await self.plan()
        await apply_plan(self._api, plan, done=told.done)

    async def close(self) -> None:
        await self._clients.close()


async def make_plan(api: SetupApi, wanted: Baseline) -> Plan:
    """Read everything, write nothing. Raises INVALID_STATE where a resource is not ours
    to harden, BACKEND_UNAVAILABLE naming the IAM action that is missing."""
    who = await api.read("sts", "get_caller_identity", "these credentials")
    account = str((who or {}).get("Account", ""))
    bucket = await read_bucket(api, wanted.bucket, region=wanted.region, account=account)
    table = await read_table(api, wanted.table)
    return Plan(account, wanted, [*plan_bucket(wanted, bucket), *plan_table(wanted, table)])


async def apply_plan(api: SetupApi, plan: Plan, *, done: Callable[[Step], None]) -> None:
    """Make every change in order; `done` is told of each that is complete."""
    for step in plan.changes:
        for call in step.calls:
            await _make(api, plan.wanted, step.resource, call)
        done(step)


async def _make(api: SetupApi, wanted: Baseline, what: str, call: Call) -> None:
    try:
        await api.write(call.service, call.operation, what, **call.parameters)
    except WorkspaceError as error:
        raise _explained(error, what, call) from None
    if call.settle == "table":
        await api.until(lambda: _table_is_active(api, wanted.table), what, _TABLE_SECONDS)
    elif call.settle == "bucket":
        await api.until(lambda: _bucket_is_there(api, wanted.bucket), what, _BUCKET_SECONDS)


async def _table_is_active(api: SetupApi, table: str) -> bool:
    found = await describe(api, table)
    if found is None or found.get("TableStatus") != "ACTIVE":
        return False
    indexes = found.get("GlobalSecondaryIndexes", [])
    return all(index.get("IndexStatus", "ACTIVE") == "ACTIVE" for index in indexes)


async def _bucket_is_there(api: SetupApi, bucket: str) -> bool:
    absent = ("404", "NoSuchBucket", "NotFound")
    found = await api.read("s3", "head_bucket", f"bucket {bucket}", absent=absent, Bucket=bucket)
    return found is not None


_TAKEN = {
    "BucketAlreadyExists": "the name belongs to another AWS account (names of buckets are "
    "worldwide): choose another with --prefix or AWS_S3_BUCKET",
    "BucketAlreadyOwnedByYou": "somebody with your credentials has just made it: run "
    "`wm setup aws` again",
    "InvalidBucketAclWithObjectOwnership": "its access control list gives rights to others: "
    "clear it with `aws s3api put-bucket-acl --acl private`",
}


def _explained(error: WorkspaceError, what: str, call: Call) -> WorkspaceError:
    """The error with what helps against this very refusal."""
    for code, remedy in _TAKEN.items():
        if f"({code})" in error.message:
            metadata = {"field": "bucket", "action": f"{call.service}:{call.operation}"}
            return WorkspaceError(
                Reason.ERROR_REASON_INVALID_STATE, f"{what}: {remedy}", metadata=metadata
            )
    return error
