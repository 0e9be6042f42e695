"""The parity checklist of the seeds: every line, what covers it, what proves it.

A line is proved by tests (`tests/...::name`, run in a checkout) or by a probe of
the running model (`probe:name`). What a provider does in a way of its own has tests
of its own, which turn its cell alone; the rest is proved once, over stores that the
conformance suites hold to one contract.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Final

from services.model.catalog import CONCERNS, PROVIDERS, services_of
from services.model.errors import WorkspaceError
from services.model.families import FAMILIES
from services.model.paths import Home, parse_storage_key, raw_key
from services.model.selection import backend_selection, refuse_secrets

__all__ = ["LINES", "PROBES", "Line", "faults_of", "run_probe"]


@dataclass(frozen=True, slots=True)
class Line:
    """One line of the checklist. `concern` is stable; `text` is what the seeds
    say; `checks` prove it for every provider, `own` what one does in a way of its own.
    `service` names a row of the provider mapping, `only` the one provider that the line
    is about."""

    concern: str
    section: str
    text: str
    checks: tuple[str, ...]
    own: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    service: str = ""
    only: str = ""

    def checks_of(self, provider: str) -> tuple[str, ...]:
        """What proves the line for one provider."""
        return (*self.checks, *self.own.get(provider, ()))

    @property
    def all_checks(self) -> tuple[str, ...]:
        """Those of all providers."""
        return (*self.checks, *(check for own in self.own.values() for check in own))


_CONTRACT, _MAPPING = "Shared Application Contract", "Provider Mapping"
_HISTORY, _CHECKLIST = "Versioning And Audit Records", "Parity Checklist"
_PEOPLE = "tests/integration/identity/test_sign_in.py::"
_FILES = "tests/integration/storage/test_uploads.py::"
_FAMILIES = "tests/unit/model/test_families.py::"
_CATALOG = "tests/unit/model/test_catalog.py::"
_COMMITS = "tests/conformance/records/test_driver_commit.py::"
_AWS = "tests/integration/aws/test_templates.py::"
_AZURE = "tests/integration/azure/test_templates.py::"
_ON_AWS = "tests/integration/events/test_on_aws.py::"
_ON_AZURE = "tests/integration/events/test_on_azure.py::"
_STALE_TOKEN = _COMMITS + "test_a_stale_token_at_any_position_changes_nothing"
_OBJECTS = "tests/conformance/objects/test_object_contract.py::"
_ON_ONE_DEPLOYMENT = "test_replicas_without_a_lasting_folder_are_one_deployment"


def _own(*, aws: tuple[str, ...], azure: tuple[str, ...]) -> Mapping[str, tuple[str, ...]]:
    return MappingProxyType({"aws": aws, "azure": azure})


_OF_SERVICE: Final[Mapping[str, Mapping[str, tuple[str, ...]]]] = MappingProxyType(
    {
        "identity": _own(
            aws=(
                "tests/integration/identity/test_cognito.py::"
                "test_a_person_is_known_by_pool_and_subject",
            ),
            azure=(
                "tests/integration/identity/test_entra.py::"
                "test_a_person_is_known_by_tenant_and_object_id",
                "tests/integration/identity/test_entra.py::"
                "test_people_of_an_external_tenant_sign_in",
            ),
        ),
        "api_runtime": _own(
            aws=(_AWS + "test_ports_of_the_task_are_those_of_the_balancer",),
            azure=(_AZURE + "test_ports_of_the_container_are_those_of_the_ingress",),
        ),
        "application_records": _own(
            aws=(_AWS + "test_the_table_of_the_template_is_that_of_the_setup",),
            azure=(
                _AZURE + "test_the_baseline_of_the_template_is_that_of_the_setup",
                _AZURE + "test_the_container_has_every_index_that_a_family_is_in",
                "tests/conformance/records/cosmos/test_cosmos_commits.py::"
                "test_what_a_batch_wrote_a_point_read_finds",
            ),
        ),
        "files": _own(
            aws=(_AWS + "test_the_bucket_of_the_template_is_that_of_the_setup",),
            azure=(
                _AZURE + "test_the_baseline_of_the_template_is_that_of_the_setup",
                "tests/integration/azure/test_setup.py::test_what_is_made_is_private_and_strong",
            ),
        ),
        "upload_url": _own(
            aws=("tests/security/test_s3_signed_urls.py::test_what_was_signed_is_allowed_once",),
            azure=(
                "tests/security/test_azure_signed_urls.py::test_what_was_signed_is_allowed_once",
            ),
        ),
        "event_bus": _own(
            aws=(_ON_AWS + "test_events_are_on_the_bus_in_order_through_faults",),
            azure=(_ON_AZURE + "test_events_are_on_the_topic_in_order_through_faults",),
        ),
        "email": _own(
            aws=(_ON_AWS + "test_mail_of_notifications_goes_through_ses",),
            azure=(
                _ON_AZURE + "test_mail_of_notifications_goes_through_communication_services",
            ),
        ),
        "secrets": _own(
            aws=(_ON_AWS + _ON_ONE_DEPLOYMENT,), azure=(_ON_AZURE + _ON_ONE_DEPLOYMENT,)
        ),
    }
)
"""Concern of the provider mapping -> what proves the service that covers it, by cloud."""
_OF_ALL: Final[Mapping[str, tuple[str, ...]]] = MappingProxyType(
    {
        "application_records": (_STALE_TOKEN,),
        "files": (_OBJECTS + "test_written_bytes_come_back",),
    }
)
"""Concern of the provider mapping -> what the conformance suites prove of each store."""

LINES: Final[Sequence[Line]] = (
    Line(
        "identity_normalised", _CONTRACT,
        "Normalize signed-in provider identity into an application user.",
        (_PEOPLE + "test_first_sign_in_makes_user_and_workspace",),
        own=_OF_SERVICE["identity"],
    ),
    Line(
        "session_context", _CONTRACT,
        "Return session context with accounts, teams, projects, grants, preferences, and "
        "effective capabilities.",
        (_PEOPLE + "test_session_has_everything",),
    ),
    Line(
        "item_families", _CONTRACT,
        "Store accounts, account members, teams, team members, projects, project grants, "
        "file/document artifacts, invitations, metadata records, write events, and notification "
        "preferences.",
        (_FAMILIES + "test_every_name_in_the_table_is_a_field_of_the_message", "probe:families"),
    ),
    Line(
        "upload_after_permission", _CONTRACT,
        "Generate upload URLs only after project permission checks.",
        (_FILES + "test_view_is_not_enough_to_upload",),
    ),
    Line(
        "artifact_prefix", _CONTRACT,
        "Store raw and processed files under the same provider-neutral document-artifact prefix "
        "shape.",
        ("tests/unit/model/test_paths.py::test_the_three_shapes_of_the_seeds", "probe:paths"),
    ),
    Line(
        "permissions_from_records", _CONTRACT,
        "Compute effective project permissions from application records, not from cloud admin "
        "status alone.",
        (
            "tests/unit/model/test_permissions.py::test_evaluator_equals_oracle_on_the_corpus",
            "tests/integration/identity/test_deployment_claims.py::"
            "test_claims_replace_earlier_ones_sorted_and_once",
        ),
        own=_own(
            aws=(
                "tests/integration/identity/test_cognito.py::"
                "test_t60_groups_are_recorded_and_grant_nothing",
            ),
            azure=(
                "tests/integration/identity/test_entra.py::"
                "test_t70_groups_are_recorded_and_grant_nothing",
            ),
        ),
    ),
    Line(
        "events_emitted", _CONTRACT,
        "Emit administrative and file/document-artifact events into the selected provider's "
        "notification/event stack.",
        (
            "tests/integration/project/test_history.py::"
            "test_activity_of_a_project_holds_its_documents_newest_first",
        ),
        own=_OF_SERVICE["event_bus"],
    ),
    *(
        Line(
            concern.key, _MAPPING, concern.label,
            (
                _CATALOG + "test_every_provider_covers_every_concern", "probe:catalog",
                *_OF_ALL.get(concern.key, ()),
            ),
            own=_OF_SERVICE[concern.key],
            service=concern.key,
        )
        for concern in CONCERNS
    ),
    Line(
        "current_state_rows", _HISTORY,
        "Project and document artifact rows hold current state.",
        (
            "tests/integration/project/test_documents.py::"
            "test_an_update_appends_the_new_state_to_history",
        ),
    ),
    Line(
        "metadata_append_only", _HISTORY,
        "Metadata records are append-only snapshots keyed by document and timestamp.",
        (_FAMILIES + "test_history_keys_are_those_of_the_seeds",),
    ),
    Line(
        "write_events_append_only", _HISTORY,
        "Write events are append-only user-authored records keyed by document and timestamp.",
        (
            "tests/integration/project/test_history.py::"
            "test_a_write_event_comes_with_its_context",
        ),
    ),
    Line(
        "derived_children", _HISTORY,
        "Derived processing outputs are stored as child artifacts and can be regenerated or "
        "superseded without replacing the raw upload record.",
        (
            "tests/integration/project/test_derived.py::"
            "test_the_next_of_a_kind_and_name_supersedes_the_last",
        ),
    ),
    Line(
        "grants_retained", _HISTORY,
        "Grants and invitations include creator and creation timestamp and should be retained "
        "for audit history.",
        ("probe:grants",),
    ),
    Line(
        "conditional_update_aws", _HISTORY,
        "DynamoDB: conditional update on `updated_at`, `version`, or an entity tag field.",
        (_STALE_TOKEN,),
        only="aws",
    ),
    Line(
        "conditional_update_azure", _HISTORY,
        "Cosmos DB: conditional write using `_etag`.",
        (_STALE_TOKEN,),
        only="azure",
    ),
    Line(
        "tests_pass", _CHECKLIST, "`npm test` passes.",
        ("tests/contract/test_served.py::test_policy_rows_are_exactly_the_registered_rpcs",),
    ),
    Line(
        "build_passes", _CHECKLIST, "`npm run build` passes.",
        ("tests/contract/test_protos.py::test_all_services_of_the_design_are_there",),
    ),
    Line(
        "fields_documented", _CHECKLIST,
        "New fields are documented in `data-identity-model.md`.",
        ("tests/contract/test_parity.py::test_the_model_document_has_every_family",),
    ),
    Line(
        "setup_docs_equivalent", _CHECKLIST,
        "AWS and Azure backend setup docs still describe equivalent persistence, identity, "
        "storage, and notification behavior.",
        (
            _CATALOG + "test_every_line_of_the_seeds_is_there",
            "tests/contract/test_parity.py::test_the_guides_of_the_clouds_say_the_same_things",
        ),
        own=_own(
            aws=(
                "tests/unit/aws/test_permissions.py::test_the_guide_has_the_table_of_permissions",
                "tests/e2e/test_guide_aws.py::test_every_command_that_the_guide_names_exists",
            ),
            azure=(
                "tests/unit/azure/test_permissions.py::"
                "test_the_guide_has_the_table_of_permissions",
                "tests/e2e/test_guide_azure.py::test_every_command_that_the_guide_names_exists",
            ),
        ),
    ),
    Line(
        "catalog_labels", _CHECKLIST,
        "`backendProviderCatalog` has correct labels and default values for both providers.",
        (_CATALOG + "test_labels_agree_with_the_selection", "probe:catalog"),
    ),
    Line(
        "project_owned_paths", _CHECKLIST,
        "Object/blob paths still use the project-owned prefix shape.",
        (
            "tests/unit/model/test_paths.py::test_parse_is_the_reverse_of_format",
            "probe:paths",
        ),
    ),
    Line(
        "no_secrets", _CHECKLIST,
        "No secrets were added to `src/config/backend.js`, docs, tests, or generated frontend "
        "output.",
        (
            "tests/unit/model/test_selection.py::"
            "test_a_secret_is_refused_by_name_and_never_repeated",
            "probe:selection",
        ),
    ),
)

_FAMILIES_OF_THE_SEEDS = (
    "account", "account_member", "team", "team_member", "project", "project_grant", "document",
    "derived_artifact", "invitation", "metadata_record", "write_event", "notification_preference",
)


def _families() -> str:
    missing = [name for name in _FAMILIES_OF_THE_SEEDS if name not in FAMILIES]
    return f"families are missing: {', '.join(missing)}" if missing else ""


def _paths() -> str:
    key = raw_key(Home("accounts", "a"), "p", "d", "Plan 1.pdf")
    wanted = "accounts/a/projects/p/documents/d/raw/"
    whole = key.startswith(wanted) and str(parse_storage_key(key)) == key
    return "" if whole else f"a raw key is not under {wanted}"


def _catalog() -> str:
    for provider in PROVIDERS:
        services = services_of(provider.key)
        empty = [concern.key for concern in CONCERNS if not services.get(concern.key)]
        if empty or not provider.label:
            return f"{provider.key} has no label for {', '.join(empty) or 'itself'}"
        if backend_selection(provider=provider.key)["provider"] != provider.key:
            return f"{provider.key} has no defaults of its own"
    return ""


def _selection() -> str:
    for provider in PROVIDERS:
        try:
            refuse_secrets(backend_selection(provider=provider.key))
        except WorkspaceError as error:
            return error.message
    return ""


def _grants() -> str:
    for name in ("project_grant", "invitation"):
        fields = FAMILIES[name].message.DESCRIPTOR.fields_by_name
        missing = [each for each in ("created_by", "created_at") if each not in fields]
        if missing:
            return f"{name} has no {', '.join(missing)}"
    return ""


PROBES: Final[Mapping[str, Callable[[], str]]] = MappingProxyType(
    {
        "probe:families": _families,
        "probe:paths": _paths,
        "probe:catalog": _catalog,
        "probe:selection": _selection,
        "probe:grants": _grants,
    }
)
"""Checks that a running process makes of itself; each answers the fault, or ''."""


def run_probe(check: str) -> str:
    """The fault that a probe finds; '' for none, and for a test, which is not
    run here. Raises KeyError for a probe that does not exist."""
    return PROBES[check]() if check.startswith("probe:") else ""


def faults_of(line: Line) -> list[str]:
    """What the probes of a line find now."""
    return [fault for check in line.checks if (fault := run_probe(check))]
