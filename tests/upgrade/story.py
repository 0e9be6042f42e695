"""What a fixture holds: a workspace in which everything has happened once. It is told to a
server of the release that the fixture is of, and to a second node that syncs with it."""

from __future__ import annotations

import hashlib
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from tests.upgrade.client import Person
from tests.upgrade.serving import Server

__all__ = ["CONNECTION", "PEOPLE", "connect", "sync", "tell", "tell_conflict"]

ANN, BOB, CAT, DAN, EVE, FAY, GIL = PEOPLE = tuple(
    f"{name}@example.com" for name in ("ann", "bob", "cat", "dan", "eve", "fay", "gil")
)
"""Ann administers the platform; Bob and Cat work; Dan is a guest; Eve was invited and is in no
team; Fay is disabled; Gil was erased."""
CONNECTION = "backup"
PART = 5 << 20
IDENTITY, ACCOUNTS, TEAMS = (
    f"identity.v1.{name}Service" for name in ("Identity", "Account", "Team")
)
INVITATIONS, PREFERENCES = "identity.v1.InvitationService", "identity.v1.PreferenceService"
PROJECTS, DOCUMENTS, GRANTS, HISTORY = (
    f"project.v1.{name}Service" for name in ("Project", "Document", "Grant", "History")
)
STORAGE, SYNC, CONNECTIONS = (
    "storage.v1.StorageService", "sync.v1.SyncService", "sync.v1.ConnectionService",
)  # fmt: skip


def tell(server: Server) -> None:
    """Everything but the sync."""
    ann, bob, cat, dan, eve, fay, gil = map(server.person, PEOPLE)
    ann(f"{IDENTITY}.BootstrapPlatformAdmin", bootstrap_secret=server.secret)
    ann(
        f"{IDENTITY}.UpdateUser", user={"user_id": ann.user_id, "name": "Ann Ångström"},
        update_mask="name",
    )
    office, works = _accounts(ann, bob, cat, fay, gil)
    team = _teams(ann, bob, cat, dan, office)
    plans = _projects(ann, bob, office, works, team)
    _grants(ann, bob, cat, dan, eve, plans, team, office)
    _invitations(ann, eve, office, works, team, plans)
    first = _documents(ann, bob, plans)
    _files(ann, bob, plans, first)
    _history(ann, bob, plans, first, office)
    _trash(ann, office, plans)
    _people(ann, bob, cat, fay, gil, office, plans)


def _accounts(ann: Person, bob: Person, cat: Person, fay: Person, gil: Person) -> tuple[str, str]:
    def account(who: Person, name: str, **more: Any) -> str:
        made = who(f"{ACCOUNTS}.CreateAccount", name=name, type="client_org", **more)
        return str(made["account"]["account_id"])

    def member(account_id: str, who: Person, role: str, **more: Any) -> None:
        ann(
            f"{ACCOUNTS}.AddAccountMember", account_id=account_id, user_id=who.user_id,
            role=f"ACCOUNT_ROLE_{role}", **more,
        )

    office = account(ann, "Büro Nord", description="plans and permits", billing_plan="gold")
    works = account(ann, "Works & Söhne")
    closed = account(ann, "Closed")
    member(office, bob, "ADMINISTRATOR")
    member(office, cat, "EDITOR", permissions=["ACCOUNT_CAPABILITY_CREATE_PROJECT"])
    member(office, fay, "VIEWER")
    member(office, gil, "VIEWER")
    member(works, cat, "ACCOUNT_ADMIN")
    member(closed, bob, "VIEWER")
    ann(f"{ACCOUNTS}.RemoveAccountMember", account_id=closed, user_id=bob.user_id)
    ann(
        f"{ACCOUNTS}.SetAccountStatus", account_id=closed, reason="moved",
        status="ACCOUNT_STATUS_SUSPENDED",
    )
    ann(
        f"{ACCOUNTS}.UpdateNotificationRouting", update_mask="userIds",
        notification_routing={
            "account_id": office, "topic": "account.members", "user_ids": [bob.user_id],
        },
    )
    return office, works


def _teams(ann: Person, bob: Person, cat: Person, dan: Person, office: str) -> str:
    def team(name: str, **home: Any) -> str:
        return str(ann(f"{TEAMS}.CreateTeam", name=name, **home)["team"]["team_id"])

    planners = team("Planners", account_id=office, description="those who plan")
    crew = team("Crew", account_id=office, parent_team_id=planners)
    alone = team("Friends", workspace_id=ann.workspace_id)
    gone = team("Gone", account_id=office)
    for team_id, who, role, guest in (
        (planners, bob, "ADMIN", False), (planners, cat, "MEMBER", False),
        (crew, cat, "VIEWER", False), (alone, bob, "MEMBER", False), (alone, dan, "VIEWER", False),
        (crew, dan, "VIEWER", True),
    ):  # fmt: skip
        ann(
            f"{TEAMS}.AddTeamMember", team_id=team_id, user_id=who.user_id,
            role=f"TEAM_ROLE_{role}", guest=guest,
        )
    ann(f"{TEAMS}.ArchiveTeam", team_id=gone)
    ann(f"{TEAMS}.RemoveTeamMember", team_id=alone, user_id=bob.user_id)
    return planners


def _projects(ann: Person, bob: Person, office: str, works: str, team: str) -> dict[str, str]:
    def project(who: Person, name: str, **more: Any) -> str:
        return str(who(f"{PROJECTS}.CreateProject", name=name, **more)["project"]["project_id"])

    made = {
        "plans": project(ann, "Pläne 木", account_id=office, description="of the house"),
        "team": project(bob, "Of the team", account_id=office, team_id=team),
        "works": project(ann, "Of the works", account_id=works, restricted=True),
        "own": project(bob, "Bob's own"),
        "held": project(ann, "Held", account_id=office, billing_scope="cost-7"),
        "old": project(ann, "Archived", account_id=office),
    }
    ann(f"{PROJECTS}.SetLegalHold", project_id=made["held"], legal_hold=True, reason="case 7")
    ann(
        f"{PROJECTS}.SetProjectStatus", project_id=made["old"], status="PROJECT_STATUS_ARCHIVED",
    )
    ann(
        f"{PROJECTS}.UpdateProject", update_mask="description",
        project={"project_id": made["works"], "description": "what is built"},
    )
    return made


def _grants(
    ann: Person, bob: Person, cat: Person, dan: Person, eve: Person, plans: dict[str, str],
    team: str, office: str,
) -> None:  # fmt: skip
    def grant(project: str, kind: str, target: str, preset: str, **more: Any) -> str:
        made = ann(
            f"{GRANTS}.CreateGrant", project_id=plans[project], target_id=target,
            target_type=f"GRANT_TARGET_TYPE_{kind}", preset=f"PERMISSION_PRESET_{preset}", **more,
        )
        return str(made["grant"]["grant_id"])

    later = (datetime.now(UTC) + timedelta(days=300)).strftime("%Y-%m-%dT%H:%M:%SZ")
    grant("plans", "USER", cat.user_id, "REVIEWER", note="until the permit")
    grant("plans", "TEAM", team, "WRITER")
    grant("plans", "ACCOUNT", office, "VIEWER")
    grant("works", "USER", dan.user_id, "COMMENTER", expires_at=later)
    grant("held", "USER", bob.user_id, "MANAGER")
    revoked = grant("works", "USER", bob.user_id, "WRITER")
    ann(f"{GRANTS}.RevokeGrant", project_id=plans["works"], grant_id=revoked)
    changed = grant("held", "USER", cat.user_id, "VIEWER")
    ann(
        f"{GRANTS}.UpdateGrant", update_mask="permissions",
        grant={
            "project_id": plans["held"], "grant_id": changed,
            "permissions": ["PERMISSION_VIEW", "PERMISSION_COMMENT"],
        },
    )
    asked = [
        who(
            f"{GRANTS}.RequestAccess", project_id=plans["plans"], note=f"{who.email} asks",
            permissions=["PERMISSION_VIEW", "PERMISSION_WRITE"],
        )["access_request"]["access_request_id"]
        for who in (dan, eve)
    ]
    ann(
        f"{GRANTS}.DecideAccessRequest", project_id=plans["plans"], access_request_id=asked[0],
        approve=True, permissions=["PERMISSION_VIEW"],
    )


def _invitations(
    ann: Person, eve: Person, office: str, works: str, team: str, plans: dict[str, str]
) -> None:
    def invite(**more: Any) -> dict[str, Any]:
        return ann(f"{INVITATIONS}.CreateInvitation", lifetime="2592000s", **more)

    viewer = {"account_role": "ACCOUNT_ROLE_VIEWER"}
    seen = {"permissions": ["PERMISSION_VIEW"]}
    invite(account_id=office, email="new@example.com", terms=viewer, note="welcome")
    invite(team_id=team, anyone_with_link=True, terms={"team_role": "TEAM_ROLE_VIEWER"})
    taken = invite(project_id=plans["plans"], email=eve.email, terms=seen)
    eve(f"{INVITATIONS}.AcceptInvitation", token=taken["token"])
    foreign = invite(project_id=plans["plans"], terms=seen, grantee_account_id=works)
    ann(
        f"{INVITATIONS}.AcceptInvitation", invitation_id=foreign["invitation"]["invitation_id"]
    )
    declined = invite(project_id=plans["held"], email=eve.email, terms=seen)
    eve(f"{INVITATIONS}.DeclineInvitation", token=declined["token"])
    revoked = invite(account_id=office, email="late@example.com", terms=viewer)
    ann(
        f"{INVITATIONS}.RevokeInvitation", invitation_id=revoked["invitation"]["invitation_id"]
    )


def _document(who: Person, project_id: str, name: str, **more: Any) -> str:
    made = who(f"{DOCUMENTS}.CreateDocument", project_id=project_id, name=name, **more)
    return str(made["document"]["document_id"])


def _documents(ann: Person, bob: Person, plans: dict[str, str]) -> str:
    first = _document(
        ann, plans["plans"], "Grundriß 木.txt", relative_path="deep/er", title="Ground floor",
        document_type="drawing", concept_tags=["house", "木"], source_date="2024-05",
        issuing_body="Office", metadata_confidence=0.5, extraction_summary="a plan " * 200,
        raw_metadata={"pages": 3, "nested": {"list": [1, "two", None]}},
        standard_relevance=["DIN 1356"], related_object_ids=["room-7"],
        links=[{"kind": "requirement", "id": "R1", "relation": "fulfils"}],
    )
    ann.upload(b"first " * 50, document_id=first, filename="plan.txt")
    ann(f"{DOCUMENTS}.CreateRevision", document_id=first, note="the walls")
    bob.upload(b"second " * 50, document_id=first, filename="plan.txt")
    ann(
        f"{DOCUMENTS}.UpdateDocument", update_mask="title,conceptTags",
        document={"document_id": first, "title": "Floor", "concept_tags": ["house", "floor"]},
    )
    ann(
        f"{DOCUMENTS}.LinkObjects", document_id=first,
        links=[{"kind": "project", "id": plans["held"], "relation": "belongs_to"}],
    )
    for number in range(12):
        made = _document(bob, plans["plans"], f"{number}.md", relative_path=f"notes/{number % 3}")
        bob.upload(b"note %d\n" % number * number or b"-", document_id=made, filename="n.md")
    copied = ann(f"{DOCUMENTS}.CopyDocument", document_id=first, name="copy.txt")["document"]
    while copied["status"] != "DOCUMENT_STATUS_AVAILABLE":  # its file is copied in the background
        time.sleep(0.05)
        of = {"document_id": copied["document_id"]}
        copied = ann(f"{DOCUMENTS}.GetDocument", **of)["document"]
    ann(
        f"{DOCUMENTS}.MoveDocument", document_id=copied["document_id"], relative_path="copies"
    )
    for name in ("team", "works", "own", "held"):
        who = bob if name in ("team", "own") else ann
        made = _document(who, plans[name], f"in {name}.txt")
        who.upload(name.encode(), document_id=made)
    return first


def _files(ann: Person, bob: Person, plans: dict[str, str], first: str) -> None:
    def artifact(name: str, **more: Any) -> str:
        made = ann(
            f"{DOCUMENTS}.CreateDerivedArtifact", document_id=first, kind="text", name=name,
            generator="ocr 1", attributes={"language": "de"}, **more,
        )
        return str(made["artifact"]["artifact_id"])

    text = artifact("plan.ocr.txt")
    ann.upload(b"recognised", document_id=first, artifact_id=text)
    better = artifact("plan.better.txt", supersedes=text)
    ann.upload(b"recognised better", document_id=first, artifact_id=better)
    waiting = _document(ann, plans["plans"], "awaited.txt")
    ann(
        f"{STORAGE}.CreateUpload", document_id=waiting, filename="awaited.txt",
        content_type="text/plain", size_bytes=7, sha256=hashlib.sha256(b"awaited").hexdigest(),
    )
    large = _document(ann, plans["plans"], "large.bin")
    data = bytes(PART) + b"the end"
    begun = ann(
        f"{STORAGE}.CreateMultipartUpload", document_id=large, filename="large.bin",
        content_type="application/octet-stream", size_bytes=len(data), part_size_bytes=PART,
        sha256=hashlib.sha256(data).hexdigest(),
    )["upload"]["upload_id"]
    ann.send_part(begun, 2, b"the end")


def _history(ann: Person, bob: Person, plans: dict[str, str], first: str, office: str) -> None:
    about = {"document_id": first}
    ann(
        f"{HISTORY}.AppendMetadataRecord", record_type="METADATA_RECORD_TYPE_EXTRACTION",
        snapshot={"title": "Floor"}, note="by a machine", **about,
    )
    bob(
        f"{HISTORY}.CreateWriteEvent", kind="WRITE_EVENT_KIND_NOTE", text="line one\nline two",
        document_context={"page": 3},
        links=[{"kind": "requirement", "id": "R1", "relation": "about"}], **about,
    )
    for scope in ({"project_id": plans["plans"]}, {"account_id": office}):
        ann(  # what never happens: nothing is sent anywhere
            f"{HISTORY}.CreateWebhook", url="https://192.0.2.7/upgrade",
            event_types=["project.purged"], description="of nothing", **scope,
        )


def _trash(ann: Person, office: str, plans: dict[str, str]) -> None:
    thrown = _document(ann, plans["plans"], "thrown.txt")
    ann.upload(b"thrown", document_id=thrown)
    ann(f"{DOCUMENTS}.DeleteDocument", document_id=thrown)
    shelved = _document(ann, plans["plans"], "shelved.txt")
    ann.upload(b"shelved", document_id=shelved)
    ann(f"{DOCUMENTS}.ArchiveDocument", document_id=shelved)
    made = ann(f"{PROJECTS}.CreateProject", name="Thrown away", account_id=office)
    project_id = made["project"]["project_id"]
    ann.upload(b"in the bin", document_id=_document(ann, project_id, "binned.txt"))
    ann(f"{PROJECTS}.DeleteProject", project_id=project_id)


def _people(
    ann: Person, bob: Person, cat: Person, fay: Person, gil: Person, office: str,
    plans: dict[str, str],
) -> None:  # fmt: skip
    bob(
        f"{PREFERENCES}.UpdateNotificationPreferences", user_id=bob.user_id,
        preferences=[{"topic": "project.shared", "delivery": "NOTIFICATION_DELIVERY_NONE"}],
        update_mask="delivery",
    )
    for name in ("importer", "revoked"):
        made = bob(
            f"{IDENTITY}.CreateMachineToken", name=name, permissions=["PERMISSION_VIEW"],
            project_ids=[plans["plans"]], account_ids=[office], lifetime="7776000s",
        )
    bob(f"{IDENTITY}.RevokeMachineToken", token_id=made["machine_token"]["token_id"])
    ann(f"{IDENTITY}.DisableUser", user_id=fay.user_id, reason="left")
    ann(f"{IDENTITY}.EraseUser", user_id=gil.user_id, confirm_user_id=gil.user_id)


def connect(server: Server, surface: Path, connection_id: str = CONNECTION) -> None:
    """To a folder, with full trust, as the administrator of the platform."""
    server.person(ANN)(
        f"{CONNECTIONS}.CreateConnection",
        connection={
            "connection_id": connection_id, "provider": "local", "trust": "TRUST_FULL",
            "settings": {"folder": str(surface)},
        },
    )


def sync(server: Server, direction: str, connection_id: str = CONNECTION) -> dict[str, Any]:
    """A run to its end: `PUSH` or `PULL`."""
    ann = server.person(ANN)
    run = ann(
        f"{SYNC}.StartSync", connection_id=connection_id, direction=f"SYNC_DIRECTION_{direction}"
    )["run"]
    while "finished_at" not in run:
        time.sleep(0.05)
        run = ann(f"{SYNC}.GetRun", run_id=run["run_id"])["run"]
    assert run["status"].startswith("RUN_STATUS_SUCCEEDED"), run
    return run


def tell_conflict(server: Server, other: Server, surface: Path) -> None:
    """Both change the title of a document, and hear of each other."""
    connect(server, surface)
    sync(server, "PUSH")
    other.person(ANN)(f"{IDENTITY}.BootstrapPlatformAdmin", bootstrap_secret=other.secret)
    connect(other, surface)
    sync(other, "PULL")
    ann = server.person(ANN)
    found = ann(f"{DOCUMENTS}.SearchDocuments", query="copy")["documents"]
    document_id = next(each["document_id"] for each in found if each["name"] == "copy.txt")
    for node, title in ((server, "ours"), (other, "theirs")):
        node.person(ANN)(
            f"{DOCUMENTS}.UpdateDocument", update_mask="title",
            document={"document_id": document_id, "title": title},
        )
    sync(other, "PUSH")
    sync(server, "PULL")
    open_ones = ann(f"{SYNC}.ListConflicts", status="CONFLICT_STATUS_OPEN").get("conflicts", [])
    assert open_ones, "there is no open conflict"
    sync(server, "PUSH")
