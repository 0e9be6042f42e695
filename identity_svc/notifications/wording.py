"""Subjects and texts, in plain English.

What people made up (names) is shown on one line, in quotes, shortened, without
invisible characters, and so that no mail program makes a link of it. No text has
an address, and none a secret but the token of an invitation, for the one who is
invited, behind the `#` of the link: that part of a URL is not sent to servers.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, datetime
from typing import Final

from services.mail.mime import one_line

__all__ = ["SUMMARY", "permission_words", "quoted", "words_of", "written_time"]

SUMMARY: Final = "summary"
"""Kind of the mail that stands for those that would have been too many."""
_LONGEST: Final = 80
_HIDDEN: Final = frozenset(["Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"])
_Facts = Mapping[str, str]
_Words = tuple[str, list[str]]


def quoted(name: str) -> str:
    """A name for a sentence or a subject."""
    visible = "".join(" " if unicodedata.category(c) in _HIDDEN else c for c in name)
    line = " ".join(visible.replace('"', "'").split())
    for mark in ("://", "www.", "WWW."):
        line = line.replace(mark, " ".join(mark))
    if len(line) > _LONGEST:
        line = line[: _LONGEST - 1].rstrip() + "\u2026"
    return f'"{line}"'


def permission_words(names: Iterable[str]) -> str:
    """`view, manage access` for the names of the enum's values."""
    words = (name.removeprefix("PERMISSION_").lower().replace("_", " ") for name in names)
    return ", ".join(words)


def written_time(unix: float) -> str:
    """`3 May 2026, 14:05 UTC`."""
    moment = datetime.fromtimestamp(unix, UTC)
    return f"{moment.day} {moment:%B %Y, %H:%M} UTC"


def words_of(kind: str, topic: str, facts: _Facts, *, public_url: str) -> tuple[str, str]:
    """Subject (one line) and text of a letter."""
    subject, paragraphs = _WORDS[kind](facts)
    foot = f"Workspace: {public_url}" if public_url else ""
    why = (
        f"You get mail on the topic {topic}. You can switch it off in your notification "
        "preferences." if topic else ""
    )  # fmt: skip
    parts = ["Hello,", *paragraphs, "\n".join(filter(None, [foot, why]))]
    subject = one_line(subject)
    return subject[:1].upper() + subject[1:], "\n\n".join(filter(None, parts)) + "\n"


def _invitation(facts: _Facts) -> _Words:
    what = facts["what"]
    return (
        f"Invitation to {what}",
        [
            f"{facts['inviter']} invites you to {what}.",
            f"To accept, sign in with the address of this mail and open:\n{facts['link']}",
            f"The link works once, until {facts['until']}. It is for you alone: do not pass "
            "it on. If you did not expect it, you need not do anything.",
        ],
    )


def _invitation_offered(facts: _Facts) -> _Words:
    return (
        f"An invitation waits for {facts['grantee']}",
        [
            f"{facts['inviter']} invites {facts['grantee']} to {facts['what']}, until "
            f"{facts['until']}.",
            "Sign in to accept or decline it.",
        ],
    )


def _answered(verb: str) -> Callable[[_Facts], _Words]:
    def words(facts: _Facts) -> _Words:
        who = facts["who"]
        return (
            f"Your invitation to {facts['what']} was {verb}",
            [f"Your invitation to {facts['what']} was {verb}{who}."],
        )

    return words


def _grant_given(facts: _Facts) -> _Words:
    return (
        f"Access to {facts['project']}",
        [f"{facts['holder']} now have access to the project {facts['project']}: "
         f"{facts['permissions']}{facts['until']}."],
    )  # fmt: skip


def _grant_changed(facts: _Facts) -> _Words:
    return (
        f"Changed access to {facts['project']}",
        [f"The access of {facts['whose']} to the project {facts['project']} was changed. "
         f"It is now: {facts['permissions']}{facts['until']}."],
    )  # fmt: skip


def _grant_revoked(facts: _Facts) -> _Words:
    return (
        "Access to a project was taken back",
        [f"A grant to {facts['whose']} on the project {facts['project']} was taken back.",
         facts["rest"]],
    )  # fmt: skip


def _grant_expiring(facts: _Facts) -> _Words:
    return (
        f"Access to {facts['project']} ends soon",
        [f"The access of {facts['whose']} to the project {facts['project']} "
         f"({facts['permissions']}) ends on {facts['ends']}.",
         "If it is still needed, ask somebody who manages access to the project."],
    )  # fmt: skip


def _project_entered(facts: _Facts) -> _Words:
    return (
        f"A project came into {facts['scope']}",
        [f"The project {facts['project']} now belongs to {facts['scope']}."],
    )


def _access_requested(facts: _Facts) -> _Words:
    return (
        f"Access to {facts['project']} is asked for",
        [f"{facts['person']} asks for access to the project {facts['project']}: "
         f"{facts['permissions']}.",
         "Sign in to read why, and to approve or decline."],
    )  # fmt: skip


def _access_approved(facts: _Facts) -> _Words:
    return (
        f"You have access to {facts['project']}",
        [f"Your request was approved. You hold on the project {facts['project']}: "
         f"{facts['permissions']}{facts['until']}."],
    )  # fmt: skip


def _access_declined(facts: _Facts) -> _Words:
    return (
        "Your request for access was declined",
        [f"Your request for access to the project {facts['project']} was declined."],
    )


def _membership(facts: _Facts) -> _Words:
    return facts["title"], [facts["sentence"]]


def _ownership(facts: _Facts) -> _Words:
    return (
        f"{facts['scope']} has a new {facts['role']}",
        [f"{facts['person']} {facts['be']} now the {facts['role']} of {facts['scope']}."],
    )


def _projects_orphaned(facts: _Facts) -> _Words:
    return (
        f"{facts['count']} without an owner",
        [f"{facts['person']} was disabled and was the last owner of {facts['count']}{facts['of']}:",
         facts["list"],
         "An owner of the account can claim them."
         if facts["of"] else "Ask the administrator of the workspace for a new owner."],
    )  # fmt: skip


def _project_claimed(facts: _Facts) -> _Words:
    return (
        f"The project {facts['project']} has a new owner",
        [f"The project {facts['project']} had no owner. {facts['person']} {facts['be']} now "
         "its owner."],
    )  # fmt: skip


def _sync_conflict(facts: _Facts) -> _Words:
    return (
        f"A conflict in {facts['place']}",
        [f"Sync found a conflict in {facts['place']}: the {facts['what']} was changed here "
         "and elsewhere, in ways that do not go together. Nothing is lost; both versions are "
         "kept until somebody decides.",
         f"Sign in to decide, or run: wm sync resolve {facts['id']}"],
    )  # fmt: skip


def _summary(facts: _Facts) -> _Words:
    return (
        f"{facts['count']} more notifications",
        [f"In the last hour there were {facts['count']} more notifications for you than are "
         "sent as single mails:", facts["list"], "Sign in to see what happened."],
    )  # fmt: skip


_WORDS: Final[Mapping[str, Callable[[_Facts], _Words]]] = {
    "invitation": _invitation,
    "invitation_offered": _invitation_offered,
    "invitation_accepted": _answered("accepted"),
    "invitation_declined": _answered("declined"),
    "grant_given": _grant_given,
    "grant_changed": _grant_changed,
    "grant_revoked": _grant_revoked,
    "grant_expiring": _grant_expiring,
    "project_entered": _project_entered,
    "access_requested": _access_requested,
    "access_approved": _access_approved,
    "access_declined": _access_declined,
    "membership": _membership,
    "ownership": _ownership,
    "projects_orphaned": _projects_orphaned,
    "project_claimed": _project_claimed,
    "sync_conflict": _sync_conflict,
    SUMMARY: _summary,
}
