"""The plan of the bucket: each property against what is wanted."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from services.aws.setup.bucket_state import BucketState
from services.aws.setup.desired import (
    ABORT_DAYS,
    CORS_RULE,
    OWNERSHIP,
    PUBLIC_ACCESS_BLOCK,
    STAGED_DAYS,
    VERSIONS_RULE,
    Baseline,
    abort_rule,
    cors_rule,
    encryption,
    partition_of,
    staged_rule,
    tls_only,
    versions_rule,
)
from services.aws.setup.policy import refuses_plain, statements_of, with_statement
from services.aws.setup.tags import TAGS, as_list
from services.setup.plan import Call, Step, Verb, compared
from services.setup.tags import missing_tags

__all__ = ["plan_bucket"]

Rule = Mapping[str, Any]


def plan_bucket(wanted: Baseline, there: BucketState | None) -> list[Step]:
    """The steps, in the order in which they are safe: closed first, opened never."""
    return list(_steps(wanted, there))


def _steps(wanted: Baseline, there: BucketState | None) -> Iterator[Step]:
    name = f"bucket {wanted.bucket}"
    is_new = there is None
    if there is None:
        yield Step(name, "bucket", Verb.CREATE, f"private, in {wanted.region}", "", [_made(wanted)])
        # What S3 makes of its own accord is said and read again by the check.
        there = BucketState(wanted.region, ownership=OWNERSHIP)
    else:
        yield Step(name, "bucket", Verb.KEEP, f"in {there.region}", there.region)
    yield _block(name, wanted, there)
    yield _owner(name, wanted, there)
    yield _encrypted(name, wanted, there)
    yield _versioned(name, wanted, there)
    yield _policy(name, wanted, there)
    yield from _lifecycle(name, wanted, there, is_new=is_new)
    yield _cors(name, wanted, there)
    yield _tags(name, wanted, there)


def _made(wanted: Baseline) -> Call:
    parameters: dict[str, Any] = {"Bucket": wanted.bucket, "ObjectOwnership": OWNERSHIP}
    # The oldest region has no name here, and is refused when it is given.
    if wanted.region != "us-east-1":
        parameters["CreateBucketConfiguration"] = {"LocationConstraint": wanted.region}
    return Call("s3", "create_bucket", parameters, settle="bucket")


def _put(operation: str, wanted: Baseline, **parameters: Any) -> Call:
    return Call("s3", operation, {"Bucket": wanted.bucket, **parameters})


def _block(name: str, wanted: Baseline, there: BucketState) -> Step:
    on = [key for key in PUBLIC_ACCESS_BLOCK if there.block.get(key)]
    block = dict(PUBLIC_ACCESS_BLOCK)
    call = _put("put_public_access_block", wanted, PublicAccessBlockConfiguration=block)
    good, wish = len(on) == len(PUBLIC_ACCESS_BLOCK), "blocked (all four)"
    was = wish if good else f"{len(on)} of 4 blocks" if there.block else ""
    return compared(
        name, "public access", wanted=wish, was=was, good=good, calls=[call],
    )  # fmt: skip


def _owner(name: str, wanted: Baseline, there: BucketState) -> Step:
    rules = {"Rules": [{"ObjectOwnership": OWNERSHIP}]}
    call = _put("put_bucket_ownership_controls", wanted, OwnershipControls=rules)
    return compared(
        name, "object ownership", wanted=OWNERSHIP, was=there.ownership,
        good=there.ownership == OWNERSHIP, calls=[call],
    )  # fmt: skip


def _encrypted(name: str, wanted: Baseline, there: BucketState) -> Step:
    """A key of one's own is kept where S3's would do."""
    rule = encryption(wanted.kms_key)
    found = there.encryption.get("ApplyServerSideEncryptionByDefault", {})
    was = " ".join(filter(None, [found.get("SSEAlgorithm"), found.get("KMSMasterKeyID")]))
    good = bool(was)
    if wanted.kms_key:
        good = found == rule["ApplyServerSideEncryptionByDefault"]
    configuration = {"Rules": [rule]}
    call = _put(
        "put_bucket_encryption", wanted, ServerSideEncryptionConfiguration=configuration
    )
    shown = f"aws:kms {wanted.kms_key}" if wanted.kms_key else "AES256"
    return compared(name, "encryption", wanted=shown, was=was, good=good, calls=[call])


def _versioned(name: str, wanted: Baseline, there: BucketState) -> Step:
    call = _put("put_bucket_versioning", wanted, VersioningConfiguration={"Status": "Enabled"})
    return compared(
        name, "versioning", wanted="Enabled", was=there.versioning,
        good=there.versioning == "Enabled", calls=[call],
    )  # fmt: skip


def _policy(name: str, wanted: Baseline, there: BucketState) -> Step:
    statement = tls_only(wanted.bucket, partition=partition_of(wanted.region))
    others = len(statements_of(there.policy))
    call = _put("put_bucket_policy", wanted, Policy=with_statement(there.policy, statement))
    good = refuses_plain(there.policy, statement)
    return compared(
        name, "policy", wanted="TLS only",
        was="TLS only" if good else f"{others} other statements, which stay" if others else "",
        good=good, calls=[call],
    )  # fmt: skip


def _lifecycle(
    name: str, wanted: Baseline, there: BucketState, *, is_new: bool
) -> Iterator[Step]:
    """One call sets all rules, so each step sends the whole: the last has all."""
    rules = list(there.lifecycle)
    for what, rule, after in (
        ("unfinished uploads", abort_rule(), ABORT_DAYS),
        ("staged uploads", staged_rule(), STAGED_DAYS),
    ):
        found = _rule(rules, rule["ID"])
        good = found is not None and _same_rule(found, rule)
        rules = rules if good else _with_rule(rules, rule)
        was = "another rule" if found and not good else ""
        yield compared(
            name, what, wanted=f"gone after {after} days", was=was,
            good=good, calls=[_rules_put(wanted, there, rules)],
        )  # fmt: skip
    found = _rule(rules, VERSIONS_RULE)
    days = _days(found)
    asked = wanted.keep_versions_days
    kept = f"gone after {wanted.versions_days} days"
    if days and asked in (None, days):
        yield Step(name, "old versions", Verb.KEEP, f"gone after {days} days", str(days))
    elif asked is None and not is_new and there.versioning:
        yield Step(
            name, "old versions", Verb.LEAVE,
            "stay until you say `--keep-versions 30`: it would remove old ones", "kept for ever",
        )  # fmt: skip
    else:
        rules = _with_rule(rules, versions_rule(wanted.versions_days))
        yield compared(
            name, "old versions", wanted=kept, was=f"gone after {days} days" if days else "",
            good=False, calls=[_rules_put(wanted, there, rules)],
        )  # fmt: skip


def _rules_put(wanted: Baseline, there: BucketState, rules: Sequence[Rule]) -> Call:
    more: dict[str, Any] = {"LifecycleConfiguration": {"Rules": list(rules)}}
    if there.transition_size:
        more["TransitionDefaultMinimumObjectSize"] = there.transition_size
    return _put("put_bucket_lifecycle_configuration", wanted, **more)


def _cors(name: str, wanted: Baseline, there: BucketState) -> Step:
    """Without origins what is there stays, and none is needed."""
    found = next((each for each in there.cors if each.get("ID") == CORS_RULE), None)
    was = ", ".join(found["AllowedOrigins"]) if found else ""
    if not wanted.allow_origins:
        return Step(name, "browsers", Verb.KEEP, was or "no web origins", was)
    rule = cors_rule(wanted.allow_origins)
    good = found is not None and all(_as_set(found.get(key)) == _as_set(rule[key]) for key in rule)
    others = [each for each in there.cors if each.get("ID") != CORS_RULE]
    call = _put("put_bucket_cors", wanted, CORSConfiguration={"CORSRules": [rule, *others]})
    shown = ", ".join(wanted.allow_origins)
    return compared(name, "browsers", wanted=shown, was=was, good=good, calls=[call])


def _tags(name: str, wanted: Baseline, there: BucketState) -> Step:
    """One call sets all tags, so those of others are sent again."""
    missing = missing_tags(wanted.tags, there.tags)
    tags = {**there.tags, **wanted.tags}
    call = _put("put_bucket_tagging", wanted, Tagging={"TagSet": as_list(tags)})
    return compared(
        name, "tags", wanted=TAGS.shown(wanted.tags), was=TAGS.shown(there.tags),
        good=not missing, calls=[call],
    )  # fmt: skip


def _rule(rules: Sequence[Rule], rule_id: str) -> Rule | None:
    return next((rule for rule in rules if rule.get("ID") == rule_id), None)


def _with_rule(rules: Sequence[Rule], rule: Rule) -> list[Rule]:
    return [*(_current(each) for each in rules if each.get("ID") != rule["ID"]), rule]


def _current(rule: Rule) -> Rule:
    """A rule in today's form: `Prefix` beside `Filter` rules is not taken."""
    if "Prefix" not in rule:
        return rule
    rest = {key: value for key, value in rule.items() if key != "Prefix"}
    return {**rest, "Filter": {"Prefix": rule["Prefix"]}}


def _same_rule(found: Rule, rule: Rule) -> bool:
    plain = {**found, "Filter": found.get("Filter") or {"Prefix": found.get("Prefix", "")}}
    plain.pop("Prefix", None)
    return plain == rule


def _days(rule: Rule | None) -> int:
    if rule is None or rule.get("Status") != "Enabled":
        return 0
    return int(rule.get("NoncurrentVersionExpiration", {}).get("NoncurrentDays", 0))


def _as_set(value: Any) -> Any:
    return {str(each).lower() for each in value} if isinstance(value, list) else value
