"""Everything that a workspace answers, person by person: what a release said of a fixture, and
what a later one has to say of it, too."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from tests.upgrade.client import Person, Refused
from tests.upgrade.serving import Server
from tests.upgrade.story import (
    ACCOUNTS,
    ANN,
    BOB,
    CAT,
    CONNECTIONS,
    DAN,
    DOCUMENTS,
    EVE,
    GRANTS,
    HISTORY,
    IDENTITY,
    INVITATIONS,
    PREFERENCES,
    PROJECTS,
    STORAGE,
    SYNC,
    TEAMS,
)

__all__ = ["READERS", "differences", "read"]

READERS = (ANN, BOB, CAT, DAN, EVE)
PERMISSIONS = "project.v1.PermissionService"
Json = dict[str, Any]

# What is new with every sign-in, start or look, or with a copy of a store (the incarnation);
# whatever else is said has to stay.
_NEW_EACH_TIME = frozenset(
    ("consistency_token", "next_page_token", "observed_at", "last_seen_at", "generation",
     "incarnation", "pull_lag", "push_lag", "records_to_push")
)  # fmt: skip


# Earlier releases called a history broken into which sync had joined something.
_FALSE_ALARMS = frozenset({"faults"})


def read(server: Server) -> Json:
    """Label -> what was answered: rows, a message, a digest, or `refused: STATUS REASON`."""
    found: Json = {}
    everything = _scopes(server)
    for email in READERS:
        person = server.person(email)
        name = email.partition("@")[0]
        for label, ask in _questions(person, everything):
            found[f"{name}: {label}"] = _plain(_answer(ask))
    return found


def differences(expected: Any, found: Any, where: str = "") -> list[str]:
    """Where an answer lacks or changes what was expected. Members that are new are no
    difference: a release may add them."""
    if isinstance(expected, dict) and isinstance(found, dict):
        return [
            text
            for name, value in expected.items() if name not in _NEW_EACH_TIME | _FALSE_ALARMS
            for text in (
                differences(value, found[name], f"{where}/{name}")
                if name in found else [f"{where}/{name}: is missing"]
            )
        ]  # fmt: skip
    if isinstance(expected, list) and isinstance(found, list):
        if len(expected) != len(found):
            return [f"{where}: {len(expected)} entries became {len(found)}"]
        pairs = zip(expected, found, strict=True)
        return [t for i, (a, b) in enumerate(pairs) for t in differences(a, b, f"{where}[{i}]")]
    return [] if expected == found else [f"{where}: {expected!r} became {found!r}"]


def _answer(ask: Callable[[], Any]) -> Any:
    try:
        return ask()
    except Refused as error:
        return "refused: " + str(error).partition(":")[0]


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        new = _NEW_EACH_TIME | ({"etag"} if "last_seen_at" in value else set())
        return {name: _plain(each) for name, each in sorted(value.items()) if name not in new}
    return [_plain(each) for each in value] if isinstance(value, list) else value


def _scopes(server: Server) -> dict[str, list[Json]]:
    """All that can be asked about, as those see it who see most."""
    found: dict[str, dict[str, Json]] = {
        kind: {} for kind in ("account", "team", "project", "document", "artifact", "user")
    }

    def note(kind: str, rows: Iterable[Json]) -> None:
        found[kind] |= {row[f"{kind}_id"]: row for row in rows}

    for email in READERS:
        ask = server.person(email)
        note("user", [{"user_id": ask.user_id}])
        note("account", ask.all(f"{ACCOUNTS}.ListAccounts", "accounts"))
        note("account", [{"account_id": ask.workspace_id}])
        for status in ("ACTIVE", "ARCHIVED", "TRASHED"):
            asked = {"status": f"PROJECT_STATUS_{status}"}
            note("project", ask.all(f"{PROJECTS}.ListProjects", "projects", **asked))
    ann = server.person(ANN)
    for account_id in found["account"]:
        try:
            note("team", ann.all(f"{TEAMS}.ListTeams", "teams", account_id=account_id))
        except Refused:
            continue
    for email in READERS:
        ask = server.person(email)
        for project_id in found["project"]:
            for status in ("UNSPECIFIED", "ARCHIVED", "TRASHED", "AWAITING_FILE"):
                asked = {"project_id": project_id, "status": f"DOCUMENT_STATUS_{status}"}
                try:
                    note("document", ask.all(f"{DOCUMENTS}.ListDocuments", "documents", **asked))
                except Refused:
                    break
    return {kind: [rows[key] for key in sorted(rows)] for kind, rows in found.items()}


def _questions(who: Person, scopes: dict[str, list[Json]]) -> Iterable[tuple[str, Any]]:
    yield from _of_person(who)
    for row in scopes["account"]:
        yield from _of_account(who, row["account_id"])
    for row in scopes["team"]:
        yield from _of_team(who, row["team_id"])
    for row in scopes["project"]:
        yield from _of_project(who, row["project_id"], [u["user_id"] for u in scopes["user"]])
    for row in scopes["document"]:
        yield from _of_document(who, row["document_id"])
    yield from _of_sync(who)


def _one(who: Person, rpc: str, **asked: Any) -> tuple[str, Any]:
    return _label(rpc, asked), lambda: who(rpc, **asked)


def _all(who: Person, rpc: str, member: str, **asked: Any) -> tuple[str, Any]:
    return _label(rpc, asked), lambda: who.all(rpc, member, **asked)


def _label(rpc: str, asked: Json) -> str:
    return " ".join([rpc.rsplit(".", 1)[1], *(f"{name}={v}" for name, v in asked.items())])


def _of_person(who: Person) -> Iterable[tuple[str, Any]]:
    me = {"user_id": who.user_id}
    yield _one(who, f"{IDENTITY}.GetUser", **me)
    yield _all(who, f"{IDENTITY}.ListMemberships", "memberships", **me)
    yield _all(who, f"{IDENTITY}.ListIdentityLinks", "identity_links", **me)
    yield _all(who, f"{IDENTITY}.ListMachineTokens", "machine_tokens", **me)
    yield _one(who, f"{PREFERENCES}.GetNotificationPreferences", **me)
    yield _all(who, f"{ACCOUNTS}.ListAccounts", "accounts")
    yield _all(who, f"{INVITATIONS}.ListInvitations", "invitations", mine=True)
    yield _all(who, f"{PROJECTS}.ListProjects", "projects")
    yield _all(who, f"{PERMISSIONS}.ListAccessibleProjects", "projects", include_sources=True)
    yield _all(who, f"{PROJECTS}.ListTrash", "items", workspace_id=who.workspace_id)
    for query in ("house", "note", "plan", "木", "ours"):
        yield _all(who, f"{DOCUMENTS}.SearchDocuments", "documents", query=query)


def _of_account(who: Person, account_id: str) -> Iterable[tuple[str, Any]]:
    of = {"account_id": account_id}
    yield _one(who, f"{ACCOUNTS}.GetAccount", **of)
    yield _all(who, f"{ACCOUNTS}.ListAccountMembers", "members", **of)
    yield _one(who, f"{ACCOUNTS}.GetNotificationRouting", **of)
    yield _one(who, f"{ACCOUNTS}.GetUsage", group_by="USAGE_GROUPING_PROJECT", **of)
    yield _all(who, f"{IDENTITY}.ListUsers", "users", **of)
    yield _all(who, f"{TEAMS}.ListTeams", "teams", **of)
    yield _all(who, f"{INVITATIONS}.ListInvitations", "invitations", **of)
    yield _all(who, f"{PROJECTS}.ListProjects", "projects", **of)
    yield _all(who, f"{PROJECTS}.ListTrash", "items", **of)
    yield _all(who, f"{HISTORY}.ListActivity", "events", **of)
    yield _all(who, f"{HISTORY}.ListWebhooks", "webhooks", **of)
    yield _one(who, f"{HISTORY}.VerifyActivity", **of)


def _of_team(who: Person, team_id: str) -> Iterable[tuple[str, Any]]:
    yield _one(who, f"{TEAMS}.GetTeam", team_id=team_id)
    yield _all(who, f"{TEAMS}.ListTeamMembers", "members", team_id=team_id)
    yield _all(who, f"{INVITATIONS}.ListInvitations", "invitations", team_id=team_id)


def _of_project(who: Person, project_id: str, users: list[str]) -> Iterable[tuple[str, Any]]:
    of = {"project_id": project_id}
    yield _one(who, f"{PROJECTS}.GetProject", **of)
    yield _one(who, f"{PERMISSIONS}.GetEffectivePermissions", **of)
    for user_id in users:
        yield _one(who, f"{PERMISSIONS}.GetEffectivePermissions", user_id=user_id, **of)
    yield _all(
        who, f"{PERMISSIONS}.ListProjectUsers", "users", permission="PERMISSION_VIEW",
        include_sources=True, **of,
    )
    yield _all(who, f"{GRANTS}.ListGrants", "grants", **of)
    yield _all(
        who, f"{GRANTS}.ListGrants", "grants", status="GRANT_STATUS_REVOKED", **of
    )
    yield _all(who, f"{GRANTS}.ListAccessRequests", "access_requests", **of)
    yield _all(who, f"{INVITATIONS}.ListInvitations", "invitations", **of)
    yield _all(who, f"{DOCUMENTS}.ListDocuments", "documents", **of)
    yield _all(who, f"{PROJECTS}.ListTrash", "items", **of)
    yield _all(who, f"{STORAGE}.ListUploads", "uploads", **of)
    yield _all(who, f"{HISTORY}.ListActivity", "events", **of)
    yield _one(who, f"{HISTORY}.VerifyActivity", **of)
    yield _all(who, f"{HISTORY}.ListWebhooks", "webhooks", **of)


def _of_document(who: Person, document_id: str) -> Iterable[tuple[str, Any]]:
    of = {"document_id": document_id}
    yield _one(who, f"{DOCUMENTS}.GetDocument", **of)
    yield _all(who, f"{DOCUMENTS}.ListLinks", "links", kind="document", id=document_id)
    yield _all(who, f"{HISTORY}.ListMetadataRecords", "metadata_records", **of)
    yield _all(who, f"{HISTORY}.ListWriteEvents", "write_events", **of)
    yield _all(who, f"{HISTORY}.ListActivity", "events", **of)
    yield f"bytes of {document_id}", lambda: who.download(**of)
    yield f"files of {document_id}", lambda: _files(who, document_id)
    yield f"artifacts of {document_id}", lambda: _artifacts(who, document_id)


def _files(who: Person, document_id: str) -> list[Json]:
    """The revisions of a file, each with the digest of its bytes."""
    files = who.all(f"{DOCUMENTS}.ListRevisions", "files", document_id=document_id)
    for each in files:
        revision = each.get("file_revision", 0)
        each["read"] = _answer(
            lambda revision=revision: who.download(
                document_id=document_id, file_revision=revision
            )
        )
    return files


def _artifacts(who: Person, document_id: str) -> list[Json]:
    found = who.all(
        f"{DOCUMENTS}.ListDerivedArtifacts", "artifacts", document_id=document_id,
        include_superseded=True,
    )
    for each in found:
        artifact_id = each["artifact_id"]
        each["read"] = _answer(
            lambda artifact_id=artifact_id: who.download(
                document_id=document_id, artifact_id=artifact_id
            )
        )
    return found


def _of_sync(who: Person) -> Iterable[tuple[str, Any]]:
    yield _all(who, f"{CONNECTIONS}.ListConnections", "connections")
    yield _all(who, f"{SYNC}.ListRuns", "runs")
    yield _all(who, f"{SYNC}.ListQuarantine", "records")
    yield _all(who, f"{SYNC}.ListNodes", "nodes")
    yield _all(who, f"{SYNC}.GetSyncStatus", "connections")
    yield "conflicts", lambda: _conflicts(who)


def _conflicts(who: Person) -> list[Json]:
    found = who.all(f"{SYNC}.ListConflicts", "conflicts")
    return [who(f"{SYNC}.GetConflict", conflict_id=each["conflict_id"]) for each in found]
