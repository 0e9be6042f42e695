"""Every single rule of the evaluator, changed one at a time: (module, text, other text).

For the unit test, against facts, and for the worlds, against a whole process.
"""

# ruff: noqa: E501 - one mutant a line

from __future__ import annotations

__all__ = ["FORETOLD", "FORETOLD_RARELY", "LISTS", "MUTANTS", "PERMISSIONS", "ROLES", "SHIELDED", "UNFILTERED"]

PERMISSIONS, ROLES = "services.model.permissions", "services.model.roles"

MUTANTS = [
    (PERMISSIONS, "if facts.user_status != _USER_ACTIVE:\n        return False", "if False:\n        return False"),
    (PERMISSIONS, "cuts = [] if facts.user_status == _USER_ACTIVE else [Cut.USER_INACTIVE]", "cuts: list[Cut] = []"),
    (PERMISSIONS, "if home is None or not _home_leaves(home.status, permission):", "if home is None:"),
    (PERMISSIONS, "status == _ACTIVE or (status == _ARCHIVED and permission == VIEW)", "status == _ACTIVE"),
    (PERMISSIONS, "status == _ACTIVE or (status == _ARCHIVED and permission == VIEW)", "status in (_ACTIVE, _ARCHIVED)"),
    (PERMISSIONS, "status == _ACTIVE or (status == _ARCHIVED and permission == VIEW)", "status != _SUSPENDED and (status != _ARCHIVED or permission == VIEW)"),
    (PERMISSIONS, "return union & {VIEW} if Cut.HOME_ARCHIVED in cuts else union", "return union"),
    (PERMISSIONS, "elif status != _ACTIVE:\n        cuts.append", "elif status == _SUSPENDED:\n        cuts.append"),
    (PERMISSIONS, "or Cut.HOME_CLOSED in cuts:", "or False:"),
    (PERMISSIONS, "return self.account_id or self.workspace_id", "return self.account_id"),
    (PERMISSIONS, "and not project.restricted\n", "\n"),
    (PERMISSIONS, "        and home.member_status == _MEMBER_ACTIVE\n", ""),
    (PERMISSIONS, "        project.account_id\n        and not", "        not"),
    (PERMISSIONS, "_FALLBACK.get(home.role, _NONE)", "_FALLBACK_ADMIN"),
    (PERMISSIONS, "Block.PROJECT_RESTRICTED if project.restricted else _account_block(account)", "_account_block(account)"),
    (PERMISSIONS, "Block.PROJECT_RESTRICTED if project.restricted else _account_block(account)", "Block.PROJECT_RESTRICTED if project.restricted else None"),
    (PERMISSIONS, "facts.accounts.get(project.account_id) if project.account_id else None", "facts.accounts.get(project.home_id)"),
    (PERMISSIONS, "ACCOUNT_ROLE_OWNER: _FALLBACK_ADMIN", "ACCOUNT_ROLE_OWNER: ALL"),
    (PERMISSIONS, "ACCOUNT_ROLE_ACCOUNT_ADMIN: _FALLBACK_ADMIN", "ACCOUNT_ROLE_ACCOUNT_ADMIN: ALL"),
    (PERMISSIONS, "ACCOUNT_ROLE_ADMINISTRATOR: _FALLBACK_ADMIN", "ACCOUNT_ROLE_ADMINISTRATOR: frozenset([VIEW])"),
    (PERMISSIONS, "ACCOUNT_ROLE_EDITOR: frozenset([VIEW, COMMENT, REVIEW, WRITE])", "ACCOUNT_ROLE_EDITOR: _FALLBACK_ADMIN"),
    (PERMISSIONS, "ACCOUNT_ROLE_VIEWER: frozenset([VIEW])", "ACCOUNT_ROLE_VIEWER: frozenset([VIEW, COMMENT])"),
    (PERMISSIONS, "grant.status == _GRANT_ACTIVE\n            and", "grant.status != 2\n            and"),
    (PERMISSIONS, "grant.status == _GRANT_ACTIVE\n            and", "True\n            and"),
    (PERMISSIONS, "now < grant.expires_at", "now <= grant.expires_at"),
    (PERMISSIONS, "(grant.expires_at is None or now < grant.expires_at)", "True"),
    (PERMISSIONS, "now >= grant.expires_at", "now > grant.expires_at"),
    (PERMISSIONS, "if grant.status != _GRANT_ACTIVE:\n        return Block.GRANT_REVOKED", "if False:\n        return Block.GRANT_REVOKED"),
    (PERMISSIONS, "return Block.GRANT_EXPIRED", "return None"),
    (PERMISSIONS, "            and _reaches(facts, grant)\n", ""),
    (PERMISSIONS, "return grant.target_id == facts.user_id", "return True"),
    (PERMISSIONS, "if grant.target_id != facts.user_id:\n            return None", "if False:\n            return None"),
    (PERMISSIONS, "return _expand(grant.permissions - {OWNER})", "return _expand(grant.permissions)"),
    (PERMISSIONS, "if grant.target_type == _TO_USER:\n        return _expand(grant.permissions)\n", "if False:\n        return _expand(grant.permissions)\n"),
    (PERMISSIONS, "if OWNER in known:\n        return ALL\n", "if False:\n        return ALL\n"),
    (PERMISSIONS, "if OWNER in known:", "if MANAGE_ACCESS in known:"),
    (PERMISSIONS, "return known | {VIEW} if known else _NONE", "return known"),
    (PERMISSIONS, "return known | {VIEW} if known else _NONE", "return known | {VIEW}"),
    (PERMISSIONS, "known = permissions & ALL", "known = permissions"),
    (PERMISSIONS, "return team is not None and _team_block(team) is None", "return team is not None"),
    (PERMISSIONS, "return account is not None and _account_block(account) is None", "return account is not None"),
    (PERMISSIONS, "if team.status != _TEAM_ACTIVE:\n        return Block.TEAM_INACTIVE\n", "if False:\n        return Block.TEAM_INACTIVE\n"),
    (PERMISSIONS, "if team.member_status != _MEMBER_ACTIVE:\n        return Block.TEAM_MEMBERSHIP\n", "if False:\n        return Block.TEAM_MEMBERSHIP\n"),
    (PERMISSIONS, "return Block.TEAM_ACCOUNT if muted else None", "return None"),
    (PERMISSIONS, "block or _team_block(team)", "block"),
    (PERMISSIONS, "block or _account_block(account)\n", "block\n"),
    (PERMISSIONS, "if account.status not in (_ACTIVE, _ARCHIVED):", "if account.status != _ACTIVE:"),
    (PERMISSIONS, "if account.status not in (_ACTIVE, _ARCHIVED):\n        return Block.ACCOUNT_INACTIVE\n", "if False:\n        return Block.ACCOUNT_INACTIVE\n"),
    (PERMISSIONS, "return None if account.member_status == _MEMBER_ACTIVE else Block.ACCOUNT_MEMBERSHIP", "return None"),
    (PERMISSIONS, "if kind == _TO_TEAM:", "if False:"),
    (PERMISSIONS, "if kind == _TO_ACCOUNT:", "if False:"),
    (PERMISSIONS, "    return False\n\n\ndef _team_block", "    return True\n\n\ndef _team_block"),
    (PERMISSIONS, "for source in (*found, _fallback_source(facts))", "for source in found"),
    (PERMISSIONS, "if source.block is None)", "if True)"),
    (ROLES, "if scope_type != TeamScopeType.TEAM_SCOPE_TYPE_ACCOUNT:\n        return False\n", "if False:\n        return False\n"),
    (ROLES, "if account_status not in _ACCOUNT_OPEN:\n        return True\n", "if False:\n        return True\n"),
    (ROLES, "ACCOUNT_STATUS_ACTIVE, AccountStatus.ACCOUNT_STATUS_ARCHIVED]", "ACCOUNT_STATUS_ACTIVE]"),
    (ROLES, "if account_member_status == _MEMBER_ACTIVE:\n        return False\n", "if False:\n        return False\n"),
    (ROLES, "not (guest and account_member_status in _NO_MEMBER)", "not guest"),
    (ROLES, "not (guest and account_member_status in _NO_MEMBER)", "account_member_status not in _NO_MEMBER"),
    (ROLES, "not (guest and account_member_status in _NO_MEMBER)", "True"),
    (ROLES, "        MemberStatus.MEMBER_STATUS_UNSPECIFIED,\n", ""),
    (ROLES, "        MemberStatus.MEMBER_STATUS_INVITED,\n", ""),
    (ROLES, "        MemberStatus.MEMBER_STATUS_REMOVED,\n", ""),
]  # fmt: skip

UNFILTERED = (
    "project_svc.access.facts",
    ("for g in grants if g.message.status == _GRANT_ACTIVE)", "for g in grants)"),
)
SHIELDED = [
    each for each in MUTANTS
    if each[1].startswith(("grant.status == _GRANT_ACTIVE", "if grant.status != _GRANT_ACTIVE"))
]
"""Rules that are kept twice: revoked grants do not even come to the evaluator. They
are looked for with that filter off (UNFILTERED)."""

VISIBLE, CANDIDATES = "project_svc.access.visible", "project_svc.access.candidates"
CANDIDATE_USERS, PROJECT_USERS = "project_svc.access.candidate_users", "project_svc.access.project_users"
ASKED = "project_svc.access.permissions"

LISTS = [
    (CANDIDATES, "            if project_id != last:\n                last = project_id\n                yield project_id\n\n", "            yield project_id\n\n"),
    (CANDIDATES, '_AFTER_ID = "$"', '_AFTER_ID = "#"'),
    (CANDIDATES, "heapq.heapreplace(heap, (following, number))", "heapq.heappop(heap)"),
    (VISIBLE, '    sources += [granted_to(Index.TEAM, f"TEAM#{team}") for team in sorted(members.teams)]\n', ""),
    (VISIBLE, '[granted_to(Index.ACCOUNT, f"ACCOUNT#{account}"), open_projects(account)]', "[open_projects(account)]"),
    (VISIBLE, '[granted_to(Index.ACCOUNT, f"ACCOUNT#{account}"), open_projects(account)]', '[granted_to(Index.ACCOUNT, f"ACCOUNT#{account}")]'),
    (VISIBLE, "if permission in effective.permissions and (", "if effective.permissions and ("),
    (VISIBLE, "asker is None or self._manages(asker, other, view)", "True"),
    (VISIBLE, "page.next = project_id", "page.next = ids[-1]"),
    (VISIBLE, "if len(page.found) >= limit or", "if len(page.found) > limit or"),
    (VISIBLE, "project.status == status\n", "True\n"),
    (VISIBLE, "            teams |= view.teams & members.teams\n", ""),
    (CANDIDATE_USERS, "            targets[grant.target_type].add(grant.target_id)\n", "            targets[_USER].add(grant.target_id)\n"),
    (CANDIDATE_USERS, "        targets[_ACCOUNT].add(project.account_id)\n", "        pass\n"),
    (CANDIDATE_USERS, "            if user_id != last:\n                last = user_id\n                yield user_id\n", "            yield user_id\n"),
    (CANDIDATE_USERS, "if each > after", "if each >= after"),
    (PROJECT_USERS, "if allows(facts, permission, now):", "if allows(facts, VIEW, now):"),
    (PROJECT_USERS, "                after, examined = user_id, examined + 1\n", "                after, examined = batch[-1], examined + 1\n"),
    (ASKED, "or gathered.allows(caller, item.project_id, MANAGE_ACCESS)", "or True"),
    (ASKED, "            await self._access.require(project_id, MANAGE_ACCESS, demand=demand)\n", "            pass\n"),
    ("project_svc.access.gate", "            and permission == VIEW\n            and leaves(facts, VIEW)\n            and may_read_suspended(facts, self.now())\n", ""),
    ("project_svc.access.gate", "            and may_read_suspended(facts, self.now())\n", "            and False\n"),
]  # fmt: skip
"""What gathers, merges, filters and pages around the evaluator."""

TURNS, TRIALS = "project_svc.previews.membership_changes", "project_svc.previews.changes"
PREVIEW, OF_PERSON = "project_svc.previews.preview", "project_svc.previews.memberships"

FORETOLD = [
    (TURNS, "        return change(facts)\n\n    return MembershipChange(applied, account_id", "        return facts\n\n    return MembershipChange(applied, account_id"),
    (TURNS, "lambda facts: replace(facts, user_status=status)", "lambda facts: facts"),
    (TRIALS, "tuple(grant for grant in view.live if grant.grant_id not in ended)", "tuple(view.live)"),
    (TRIALS, "            grants.pop(row.grant_id, None)\n", ""),
    (TRIALS, "                restricted=row.restricted,\n", ""),
    (TRIALS, "                grants[row.grant_id] = grant_facts(row)\n", "                pass\n"),
    (PREVIEW, "    return reach_of(change.view.project, change.view.live) | reach_of(\n        change.project, change.grants\n    )\n", "    return reach_of(change.project, change.grants)\n"),
    (PREVIEW, "            answer.hidden_count += 1\n", "            pass\n"),
    (PREVIEW, "                after, examined = user_id, examined + 1\n", "                after, examined = batch[-1], examined + 1\n"),
    (OF_PERSON, "            answer.hidden_count += 1\n", "            pass\n"),
    (OF_PERSON, "                after, examined = project_id, examined + 1\n", "                after, examined = batch[-1], examined + 1\n"),
]  # fmt: skip
"""What previews make of a change."""

FORETOLD_RARELY = [
    (TURNS, "replace(team, account_member_status=status, member_status=left)", "replace(team, member_status=left)"),
    (TURNS, "replace(account, member_status=status, role=int(after.role))", "replace(account, member_status=status)"),
]  # fmt: skip
"""Those that take some 50 worlds: for a soak."""
