"""The one table of item families: keys, indexes, owner, sync policy, field classes.

Drivers, provisioning and `docs/data-identity-model.md` are generated from
this table or checked against it. Field classes: a field is *content* (it
travels and is in the digest) unless it is named in `stamp_fields` (travels,
not in the digest) or `local_fields` (never travels, recomputed on arrival);
`computed` fields are never stored at all.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from google.protobuf.message import Message
from workspace.common.v1.activity_pb2 import ActivityEvent
from workspace.identity.v1.account_pb2 import Account, AccountMember, NotificationRouting
from workspace.identity.v1.invitation_pb2 import Invitation
from workspace.identity.v1.machine_token_pb2 import MachineToken
from workspace.identity.v1.preference_pb2 import NotificationPreference
from workspace.identity.v1.team_pb2 import Team, TeamMember
from workspace.identity.v1.user_pb2 import IdentityLink, PlatformAdmin, User
from workspace.project.v1.document_pb2 import DerivedArtifact, Document
from workspace.project.v1.grant_pb2 import AccessRequest, Grant
from workspace.project.v1.history_pb2 import MetadataRecord, Webhook, WriteEvent
from workspace.project.v1.project_pb2 import Project
from workspace.storage.v1.upload_pb2 import Upload
from workspace.sync.v1.connection_pb2 import Connection
from workspace.sync.v1.run_pb2 import Run

from services.model.indexes import Index
from services.model.templates import Template

__all__ = ["FAMILIES", "KERNEL_ROWS", "Family", "KernelRow", "family_of"]

_STAMP = frozenset({"updated_at", "updated_by"})
_NONE: frozenset[str] = frozenset()

IndexKeys = Mapping[Index, Sequence[tuple[Template, Template]]]


@dataclass(frozen=True, slots=True)
class Family:
    """One kind of record. `pk` lists alternatives, `indexes` lists, per index,
    (partition, sort) alternatives: the first that is complete is taken."""

    name: str
    message: type[Message]
    pk: Sequence[Template]
    sk: Template
    owner: str
    indexes: IndexKeys = field(default_factory=dict)
    synced: bool = True
    policy: str = "surface"
    stamp_fields: frozenset[str] = _STAMP
    local_fields: frozenset[str] = _NONE
    computed: frozenset[str] = _NONE

    def key_of(self, message: Message) -> tuple[str, str]:
        """(pk, sk) of a record. Raises ValueError when a key field is empty."""
        pk = next(filter(None, (template.render(message) for template in self.pk)), "")
        sk = self.sk.render(message)
        if not (pk and sk):
            raise ValueError(f"{self.name}: a field of the key is empty")
        return pk, sk

    def index_entries(self, message: Message) -> dict[Index, tuple[str, str]]:
        """The record's place in each index that it belongs to."""
        entries = {}
        for index, alternatives in self.indexes.items():
            for partition, sort in alternatives:
                pair = (partition.render(message), sort.render(message))
                if all(pair):
                    entries[index] = pair
                    break
        return entries


@dataclass(frozen=True, slots=True)
class KernelRow:
    """A row of the kernel's own: JSON without a contract, never synced."""

    name: str
    pk: str
    sk: str
    purpose: str


def _index(*alternatives: tuple[str, str]) -> list[tuple[Template, Template]]:
    return [(Template(partition), Template(sort)) for partition, sort in alternatives]


def _family(
    name: str,
    message: type[Message],
    pk: str | tuple[str, ...],
    sk: str,
    owner: str,
    *,
    indexes: IndexKeys | None = None,
    synced: bool = True,
    policy: str = "surface",
    stamp: frozenset[str] = _STAMP,
    local: frozenset[str] = _NONE,
    computed: frozenset[str] = _NONE,
) -> Family:
    partitions = tuple(Template(text) for text in ((pk,) if isinstance(pk, str) else pk))
    return Family(
        name, message, partitions, Template(sk), owner, indexes or {}, synced, policy,
        stamp, local, computed,
    )


_GRANT = "GRANT#{project_id}#{grant_id}"
_INVITATION = "INVITATION#{created_at}#{invitation_id}"
_OFFERED = "OFFERED#{created_at}#{invitation_id}"
_OF_DOCUMENT_OR_PROJECT = ("DOCUMENT#{document_id}", "PROJECT#{project_id}")
_IDENTITY, _PROJECT, _STORAGE = "identity_svc", "project_svc", "storage_svc"
_SYNC = "sync_svc"
_NAMES = frozenset({"updated_at", "updated_by", "email", "name"})
_HOME = frozenset({"account_id", "team_id", "workspace_id", "storage_provider"})

_TABLE = (
    _family(
        "user", User, "USER#{user_id}", "USER#{user_id}", _IDENTITY,
        indexes={
            Index.USER: _index(("{email_verified=True}EMAIL#{email|address}", "USER#{user_id}"))
        },
        policy="field_lww", stamp=_STAMP | {"last_seen_at"},
    ),
    _family(
        "identity_link", IdentityLink, "IDENTITY#{link_id}", "IDENTITY", _IDENTITY,
        indexes={Index.USER: _index(("USER#{user_id}", "IDENTITY#{link_id}"))},
        policy="restrictive",
    ),
    _family(
        "platform_admin", PlatformAdmin, "PLATFORM", "ADMIN#{user_id}", _IDENTITY,
        indexes={Index.USER: _index(("USER#{user_id}", "ADMIN#{user_id}"))},
        policy="restrictive",
    ),
    _family(
        "machine_token", MachineToken, "USER#{user_id}", "MACHINE#{token_id}", _IDENTITY,
        synced=False, policy="local", stamp=_STAMP | {"last_used_at"},
        local=frozenset({"secret_sha256"}),
    ),
    _family(
        "account", Account, "ACCOUNT#{account_id}", "ACCOUNT#{account_id}", _IDENTITY,
        indexes={
            Index.ACCOUNT: _index(("PLATFORM#accounts", "ACCOUNT#{account_id}")),
            Index.USER: _index(("USER#{owner_user_id}", "ACCOUNT#{account_id}")),
        },
    ),
    _family(
        "account_member", AccountMember, "ACCOUNT#{account_id}", "MEMBER#{user_id}", _IDENTITY,
        indexes={Index.USER: _index(("USER#{user_id}", "MEMBER#ACCOUNT#{account_id}"))},
        policy="restrictive", stamp=_NAMES,
    ),
    _family(
        "notification_routing", NotificationRouting, "ACCOUNT#{account_id}", "ROUTING#{topic}",
        _IDENTITY,
    ),
    _family(
        "team", Team, "TEAM#{team_id}", "TEAM#{team_id}", _IDENTITY,
        indexes={
            Index.ACCOUNT: _index(
                ("ACCOUNT#{account_id}", "TEAM#{team_id}"),
                ("WORKSPACE#{workspace_id}", "TEAM#{team_id}"),
            )
        },
    ),
    _family(
        "team_member", TeamMember, "TEAM#{team_id}", "MEMBER#{user_id}", _IDENTITY,
        indexes={Index.USER: _index(("USER#{user_id}", "MEMBER#TEAM#{team_id}"))},
        policy="restrictive", stamp=_NAMES,
    ),
    _family(
        "invitation", Invitation, "INVITATION#{invitation_id}", "INVITATION", _IDENTITY,
        policy="restrictive",
        # Each index has whom or what the invitation names, and nothing else.
        indexes={
            Index.ACCOUNT: _index(
                ("{target_type=account}ACCOUNT#{target_id}", _INVITATION),
                ("ACCOUNT#{grantee_account_id}", _OFFERED),
            ),
            Index.TEAM: _index(
                ("{target_type=team}TEAM#{target_id}", _INVITATION),
                ("TEAM#{grantee_team_id}", _OFFERED),
            ),
            Index.USER: _index(("EMAIL#{email|address}", _INVITATION)),
            Index.PROJECT: _index(("{target_type=project}PROJECT#{target_id}", _INVITATION)),
        },
        local=frozenset({"token_hash"}),
    ),
    _family(
        "notification_preference", NotificationPreference, "USER#{user_id}",
        "PREFERENCE#{topic}", _IDENTITY, policy="field_lww",
    ),
    _family(
        "project", Project, "PROJECT#{project_id}", "PROJECT#{project_id}", _PROJECT,
        indexes={
            Index.ACCOUNT: _index(
                ("ACCOUNT#{account_id}", "PROJECT#{restricted?restricted:open}#{project_id}"),
                ("WORKSPACE#{workspace_id}", "PROJECT#{restricted?restricted:open}#{project_id}"),
            ),
            Index.TEAM: _index(("TEAM#{team_id}", "PROJECT#{project_id}")),
        },
        computed=frozenset({"my_permissions"}),
    ),
    _family(
        "project_grant", Grant, "PROJECT#{project_id}", "GRANT#{grant_id}", _PROJECT,
        indexes={
            Index.ACCOUNT: _index(("{target_type=account}ACCOUNT#{target_id}", _GRANT)),
            Index.TEAM: _index(("{target_type=team}TEAM#{target_id}", _GRANT)),
            Index.USER: _index(("{target_type=user}USER#{target_id}", _GRANT)),
        },
        policy="restrictive",
    ),
    _family(
        "access_request", AccessRequest, "PROJECT#{project_id}", "ACCESS#{access_request_id}",
        _PROJECT, policy="restrictive",
    ),
    _family(
        "document", Document, "DOCUMENT#{document_id}", "ARTIFACT#{document_id}", _PROJECT,
        indexes={
            Index.ACCOUNT: _index(("ACCOUNT#{account_id}", "ARTIFACT#{document_id}")),
            Index.TEAM: _index(("TEAM#{team_id}", "ARTIFACT#{document_id}")),
            Index.PROJECT: _index(("PROJECT#{project_id}", "ARTIFACT#{document_id}")),
        },
        local=_HOME,
    ),
    _family(
        "derived_artifact", DerivedArtifact, "DOCUMENT#{document_id}",
        "DERIVED#{kind}#{artifact_id}", _PROJECT,
        indexes={
            Index.PROJECT: _index(("PROJECT#{project_id}", "DERIVED#{document_id}#{artifact_id}"))
        },
    ),
    _family(
        "metadata_record", MetadataRecord, _OF_DOCUMENT_OR_PROJECT,
        "METADATA#{timestamp}#{record_type}#{metadata_record_id}", _PROJECT,
        policy="append_only", stamp=_NONE,
    ),
    _family(
        "write_event", WriteEvent, _OF_DOCUMENT_OR_PROJECT,
        "WRITE#{timestamp}#{write_event_id}", _PROJECT,
        indexes={
            Index.PROJECT: _index(("PROJECT#{project_id}", "WRITE#{timestamp}#{write_event_id}"))
        },
        policy="append_only", stamp=_NONE,
    ),
    _family(
        "webhook", Webhook, ("PROJECT#{project_id}", "ACCOUNT#{account_id}"),
        "WEBHOOK#{webhook_id}", _PROJECT,
        indexes={Index.PROJECT: _index(("WEBHOOK#{webhook_id}", "WEBHOOK"))},
        synced=False, policy="local",
    ),
    _family(
        "upload", Upload, "UPLOAD#{upload_id}", "UPLOAD", _STORAGE,
        indexes={
            Index.USER: _index(("USER#{created_by}", "UPLOAD#{upload_id}")),
            Index.PROJECT: _index(("PROJECT#{project_id}", "UPLOAD#{created_at}#{upload_id}")),
        },
        synced=False, policy="local", local=frozenset({"provider_upload_id"}),
    ),
    _family(
        "connection", Connection, "CONNECTION#{connection_id}", "CONNECTION", _SYNC,
        indexes={Index.USER: _index(("CONNECTIONS", "CONNECTION#{connection_id}"))},
        synced=False, policy="local",
    ),
    _family(
        "sync_run", Run, "RUN#{run_id}", "RUN", _SYNC,
        indexes={
            Index.USER: _index(("RUNS", "RUN#{created_at}#{run_id}")),
            Index.PROJECT: _index(("CONNECTION#{connection_id}", "RUN#{created_at}#{run_id}")),
        },
        synced=False, policy="local",
    ),
    _family(
        "activity_event", ActivityEvent, "(the partition that changed)",
        "EVENT#{event_id}", "kernel",
        indexes={
            Index.ACCOUNT: _index(("ACCOUNT#{account_id}", "EVENT#{event_id}")),
            Index.PROJECT: _index(("PROJECT#{project_id}", "EVENT#{event_id}")),
        },
        policy="append_only", stamp=_NONE,
    ),
)

FAMILIES: Mapping[str, Family] = {family.name: family for family in _TABLE}

KERNEL_ROWS = (
    KernelRow("head", "(every partition)", "#HEAD", "commit counter of the partition"),
    KernelRow("request", "(the effect's partition)", "REQ#{digest}", "idempotency, kept 24 h"),
    KernelRow(
        "erasure", "ERASURE#{user_id}", "ERASURE",
        "a user's erasure under way: what is to go, and how far it is; gone at its end",
    ),
    KernelRow(
        "team_tree", "TREE#{account_id or workspace_id}", "MOVE",
        "which team of a home is being moved in the tree: one at a time",
    ),
    KernelRow(
        "sibling", "(the record's partition)", "~SIB#{sk}#{dot}",
        "one of several versions of a record side by side",
    ),
    KernelRow(
        "conflict", "(the record's partition)", "~CONFLICT#{sk}#{conflict_id}",
        "a conflict that people must decide, or decided",
    ),
    KernelRow(
        "sync_state", "SYNC#{connection_id}", "STATE",
        "how far push and pull are, and the surface as it was last seen",
    ),
    KernelRow(
        "quarantine", "SYNC#{connection_id}", "QUARANTINE#{quarantine_id}",
        "an incoming version that is kept aside, with its reason",
    ),
    KernelRow(
        "pending_bytes", "SYNC#{connection_id}", "PENDING#{digest}",
        "an object that a record names and that is still to come",
    ),
    KernelRow(
        "run_claim", "SYNC#{connection_id}", "RUN",
        "which run has the connection: one at a time",
    ),
    KernelRow(
        "run_progress", "RUN#{run_id}", "PROGRESS",
        "how far a run that is at work is, written every few seconds",
    ),
    KernelRow(
        "node", "NODE#{instance_id}", "NODE",
        "a node that syncs with this surface: its incarnations and how far each has read",
    ),
    KernelRow(
        "node_seen", "NODE#{instance_id}", "SEEN#{connection_id}",
        "that row of the surface of a connection, as it was last read",
    ),
    KernelRow(
        "handshake", "NODE#{instance_id}", "HANDSHAKE",
        "what is remembered here of the contacts with that surface",
    ),
    KernelRow(
        "object_intent", "INTENT#{run_id}", "{part}",
        "objects that a run is about to name here: collection spares them",
    ),
    KernelRow(
        "collection", "COLLECT#{kind}", "LEASE, STATE or {digest}",
        "what nothing names any more, and since when",
    ),
    KernelRow("instance", "INSTANCE", "INSTANCE", "identity of this store"),
    KernelRow(
        "connection_test", "TEST#{random}", "TEST",
        "written and taken away again by the test of a connection, on its surface",
    ),
    KernelRow("due", "DUE#{hour}#{shard}", "{time}#{kind}#{subject}", "work to do at a time"),
    KernelRow(
        "usage", "USAGE#{home_id}", "TOTAL or PROJECT#{project_id}",
        "documents and bytes of a home and its projects, used and reserved",
    ),
    KernelRow(
        "usage_charge", "USAGE#{home_id}",
        "RESERVED#{upload_id}, FILE#{digest} or DOCUMENT#{document_id}",
        "what the usage is the sum of",
    ),
    KernelRow(
        "relocation", "RELOCATION#{project_id}", "STATE",
        "the latest relocation of a project's files",
    ),
    KernelRow(
        "relocated_object", "RELOCATION#{project_id}", "OLD#{digest}",
        "an object that is removed when its URLs have ended",
    ),
    KernelRow(
        "transfer_epoch", "TRANSFERS#{project_id}", "EPOCH",
        "URLs of the project that were signed in an earlier epoch are revoked",
    ),
    KernelRow(
        "relay", "RELAY#{consumer}", "CURSOR or PARKED#{event_id}",
        "how far a consumer of events is, and what it could not take",
    ),
    KernelRow(
        "lease", "RELAY#{consumer} or SYNC#{connection_id}", "LEASE",
        "which process works, until when",
    ),
    KernelRow(
        "webhook_delivery", "WEBHOOK#{webhook_id}", "STATE or DELIVERY#{event_id}",
        "an event on its way to a webhook, and since when it fails",
    ),
    KernelRow(
        "mail", "MAIL#{user_id or hash of an address}", "STATE or NOTICE#{mail_id}",
        "a mail on its way to a person, and how many went out lately",
    ),
    KernelRow(
        "document_name", "NAME#{project_id}#{digest}", "NAME",
        "claims a path inside a project for one document",
    ),
    KernelRow(
        "link_end", "LINK#{sha256 of kind and id}", "{source_kind}#{source_id}",
        "proposes a source of links to an object; the source decides",
    ),
    KernelRow(
        "search_term", "TERM#{project_id}", "WORD#{word}#{document_id}",
        "proposes a document that has a word; the document decides",
    ),
    KernelRow(
        "search_document", "TERM#{project_id}", "DOC#{document_id}",
        "the words under which a document is indexed",
    ),
    KernelRow(
        "index_cursor", "INDEX#documents", "CURSOR",
        "how far the indexes of words and links follow the change feed",
    ),
    KernelRow(
        "follower", "FOLLOW#{name}", "CURSOR",
        "how far a service follows the change feed for records that come by sync",
    ),
)


def family_of(message: Message) -> Family:
    """The family that stores messages of this type. Raises KeyError."""
    for family in _TABLE:
        if isinstance(message, family.message):
            return family
    raise KeyError(f"no item family stores {message.DESCRIPTOR.full_name}")
