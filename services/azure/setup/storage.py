"""The plan of the storage account and its container: each property against what is wanted."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from services.azure.setup import desired
from services.azure.setup.calls import patch, put, put_again, together
from services.azure.setup.desired import STAGED_DAYS, Baseline, Resource
from services.azure.setup.sas_policy import plan_sas_policy
from services.azure.setup.state import State
from services.azure.setup.tags import TAGS, merged, missing
from services.setup.plan import Step, Verb, compared

__all__ = ["plan_storage"]

_SHOWN: Mapping[str, tuple[str, Mapping[Any, str]]] = {
    "allowBlobPublicAccess": ("public access", {False: "off", True: "on"}),
    "allowSharedKeyAccess": ("account keys", {False: "off", True: "on"}),
    "allowCrossTenantReplication": ("copies to others", {False: "off", True: "on"}),
    "allowedCopyScope": (
        "copies from others",
        {"AAD": "of this tenant", "PrivateLink": "over private links", "All": "of anybody"},
    ),
    "defaultToOAuthAuthentication": ("sign-in by default", {True: "on", False: "off"}),
    "minimumTlsVersion": ("least TLS", {"TLS1_2": "1.2", "TLS1_1": "1.1", "TLS1_0": "1.0"}),
    "supportsHttpsTrafficOnly": ("plain HTTP", {True: "refused", False: "taken"}),
}
_BETTER = {
    "minimumTlsVersion": ("TLS1_2", "TLS1_3"), "allowedCopyScope": ("AAD", "PrivateLink")
}  # fmt: skip
_ASK_FIRST = "stay until you say `--keep-versions 30`: it would remove old ones"
_RETENTIONS = ("deleteRetentionPolicy", "containerDeleteRetentionPolicy")
# What cannot be sent back.
_READ_ONLY = ("minRestoreTime", "lastEnabledTime")


def plan_storage(wanted: Baseline, group: str, state: State) -> list[Step]:
    """The steps, in the order in which they are safe: closed first, opened never."""
    name = f"storage account {wanted.storage_account}"
    return [
        *_account(name, wanted, group, state),
        *_service(name, wanted, group, state),
        # Before the container: a run that was cut leaves no versions that stay for ever.
        *_lifecycle(name, wanted, group, state),
        _container(name, wanted, group, state),
    ]


def _account(name: str, wanted: Baseline, group: str, state: State) -> list[Step]:
    resource = desired.storage_account(wanted)
    there = state.storage
    where = f"private, in {wanted.location}"
    if there is None:
        steps = [
            Step(name, "account", Verb.CREATE, where), *_properties(name, resource, {}),
            _signed_urls(name, resource, there),
            Step(name, "tags", Verb.CREATE, TAGS.shown(wanted.tags)),
        ]  # fmt: skip
        return together(steps, put(group, resource))
    found = there.get("properties", {})
    sku = str(there.get("sku", {}).get("name", ""))
    steps = [
        Step(name, "account", Verb.KEEP, f"{sku}, in {wanted.location}", sku),
        *_properties(name, resource, found),
        (signed := _signed_urls(name, resource, there)),
        _tags(name, wanted, there),
    ]
    properties = _differing(resource, found)
    if signed.writes:
        properties["sasPolicy"] = resource.body["properties"]["sasPolicy"]
    changed: dict[str, Any] = {"properties": properties} if properties else {}
    if missing(wanted.tags, there.get("tags") or {}):
        changed["tags"] = merged(wanted.tags, there.get("tags") or {})
    return together(steps, patch(group, resource, changed)) if changed else steps


def _properties(name: str, resource: Resource, found: Mapping[str, Any]) -> Iterator[Step]:
    for key, (label, shown) in _SHOWN.items():
        want = resource.body["properties"][key]
        was = found.get(key)
        # What was never set has the default of the time when the account was made.
        text = shown.get(was, str(was)) if was is not None else "not set" if found else ""
        yield compared(
            name, label, wanted=shown[want], was=text, good=_good(key, want, was), calls=[]
        )


def _signed_urls(name: str, resource: Resource, there: Mapping[str, Any] | None) -> Step:
    return plan_sas_policy(name, resource.body["properties"]["sasPolicy"], there)


def _differing(resource: Resource, found: Mapping[str, Any]) -> dict[str, Any]:
    wanted = {key: resource.body["properties"][key] for key in _SHOWN}
    return {key: want for key, want in wanted.items() if not _good(key, want, found.get(key))}


def _good(key: str, want: object, was: object) -> bool:
    return was in _BETTER.get(key, (want,))


def _tags(name: str, wanted: Baseline, there: Mapping[str, Any]) -> Step:
    tags = there.get("tags") or {}
    return compared(
        name, "tags", wanted=TAGS.shown(wanted.tags), was=TAGS.shown(tags),
        good=not missing(wanted.tags, tags), calls=[],
    )  # fmt: skip


def _service(name: str, wanted: Baseline, group: str, state: State) -> list[Step]:
    """One call sets all of the blob service, so what others set is sent again, as it is when
    the call is made."""
    resource = desired.blob_service(wanted)
    there = state.blobs.get("properties", {})
    want = resource.body["properties"]
    versioned = there.get("isVersioningEnabled") is True
    steps = [
        compared(
            name, "versioning", wanted="on", was="on" if versioned else "off" if there else "",
            good=versioned, calls=[],
        ),
        _retention(name, "deleted files", "deleteRetentionPolicy", wanted, there),
        _retention(name, "deleted containers", "containerDeleteRetentionPolicy", wanted, there),
        _cors(name, wanted, there),
    ]  # fmt: skip
    changed = [key for key in _RETENTIONS if not _kept(wanted, there.get(key, {}))]

    def remade(found: Mapping[str, Any]) -> dict[str, Any]:
        body = {**_writable(found), "isVersioningEnabled": True}
        body |= {key: {**found.get(key, {}), **want[key]} for key in changed}
        if wanted.allow_origins:
            body["cors"] = {"corsRules": _rules(wanted, found)}
        return body

    call = put_again(group, resource, remade)
    return together(steps, call) if any(step.writes for step in steps) else steps


def _writable(properties: Mapping[str, Any]) -> dict[str, Any]:
    return {
        key: {name: each for name, each in value.items() if name not in _READ_ONLY}
        if isinstance(value, dict)
        else value
        for key, value in properties.items()
    }


def _retention(
    name: str, label: str, key: str, wanted: Baseline, there: Mapping[str, Any]
) -> Step:
    found = there.get(key, {})
    on = bool(found.get("enabled"))
    was = f"kept {found.get('days')} days" if on else "gone at once" if there else ""
    return compared(
        name, label, wanted=f"kept {wanted.versions_days} days", was=was,
        good=_kept(wanted, found), calls=[],
    )  # fmt: skip


def _kept(wanted: Baseline, found: Mapping[str, Any]) -> bool:
    """Other days than ours are somebody's choice, unless days are asked for."""
    asked = wanted.keep_versions_days
    return bool(found.get("enabled")) and asked in (None, found.get("days"))


def _cors(name: str, wanted: Baseline, there: Mapping[str, Any]) -> Step:
    """Without origins what is there stays, and none is needed."""
    ours = [each for each in _cors_there(there) if _is_ours(each)]
    origins = ours[0].get("allowedOrigins", []) if ours else []
    was = ", ".join(origins)
    if not wanted.allow_origins:
        return Step(name, "browsers", Verb.KEEP, was or "no web origins", was)
    return compared(
        name, "browsers", wanted=", ".join(wanted.allow_origins), was=was,
        good=sorted(origins) == sorted(wanted.allow_origins), calls=[],
    )  # fmt: skip


def _rules(wanted: Baseline, there: Mapping[str, Any]) -> list[Any]:
    """Ours in place of an earlier one of ours; those of others have no name and stay."""
    others = [each for each in _cors_there(there) if not _is_ours(each)]
    return [desired.cors_rule(wanted.allow_origins), *others]


def _cors_there(there: Mapping[str, Any]) -> Sequence[Mapping[str, Any]]:
    rules: Sequence[Mapping[str, Any]] = there.get("cors", {}).get("corsRules") or []
    return rules


def _is_ours(rule: Mapping[str, Any]) -> bool:
    like = desired.cors_rule(())
    lists = ("allowedMethods", "allowedHeaders", "exposedHeaders")
    return all(_as_set(rule.get(key)) == _as_set(like[key]) for key in lists)


def _as_set(value: Any) -> set[str]:
    return {str(each).lower() for each in value or ()}


def _container(name: str, wanted: Baseline, group: str, state: State) -> Step:
    resource = desired.container(wanted)
    found = _ours(wanted, state)
    label = "container"
    if found is None:
        return Step(
            name, label, Verb.CREATE, f"{wanted.storage_container}, private",
            calls=[put(group, resource)],
        )  # fmt: skip
    access = found.get("properties", {}).get("publicAccess")
    good = access in (None, "None")
    shown = f"{wanted.storage_container}, private"
    return compared(
        name, label, wanted=shown, was=shown if good else f"public ({access})", good=good,
        calls=[patch(group, resource, resource.body)],
    )  # fmt: skip


def _ours(wanted: Baseline, state: State) -> Mapping[str, Any] | None:
    name = wanted.storage_container
    return next((each for each in state.containers if each.get("name") == name), None)


def _lifecycle(name: str, wanted: Baseline, group: str, state: State) -> list[Step]:
    """One call sets all rules, so those of others are sent again, as they are when the call
    is made."""
    rules = _rules_of((state.lifecycle or {}).get("properties", {}))
    steps, changed = [], dict[str, Any]()
    for label, want, shown in (
        ("old versions", desired.versions_rule(wanted), "removed, then kept as deleted files are"),
        ("staged uploads", desired.staged_rule(wanted), f"gone after {STAGED_DAYS} days"),
    ):
        found = next((each for each in rules if each.get("name") == want["name"]), None)
        if found is None and label == "old versions" and _has_old(wanted, state):
            steps.append(Step(name, label, Verb.LEAVE, _ASK_FIRST, "kept for ever"))
            continue
        good = found is not None and _same_rule(found, want)
        if not good:
            changed[want["name"]] = want
        was = shown if good else "another rule" if found else ""
        steps.append(compared(name, label, wanted=shown, was=was, good=good, calls=[]))

    def remade(found: Mapping[str, Any]) -> dict[str, Any]:
        others = [each for each in _rules_of(found) if each.get("name") not in changed]
        return {"policy": {"rules": [*others, *changed.values()]}}

    call = put_again(group, desired.lifecycle(wanted), remade)
    return together(steps, call) if changed else steps


def _rules_of(properties: Mapping[str, Any]) -> Sequence[Mapping[str, Any]]:
    rules: Sequence[Mapping[str, Any]] = properties.get("policy", {}).get("rules", [])
    return rules


def _has_old(wanted: Baseline, state: State) -> bool:
    """Whether old versions may be there that nobody asked to remove."""
    versioned = state.blobs.get("properties", {}).get("isVersioningEnabled") is True
    has_old = versioned and _ours(wanted, state) is not None
    return has_old and wanted.keep_versions_days is None


def _same_rule(found: Any, want: Any) -> bool:
    """By what is wanted: Azure may add members, and writes numbers as it likes."""
    if isinstance(want, Mapping):
        return isinstance(found, Mapping) and all(
            _same_rule(found.get(key), value) for key, value in want.items()
        )
    return bool(found == want)
