"""Mail that is neither lost nor a flood: crashes, outages, refusals, limits, secrets."""

from __future__ import annotations

import asyncio
import logging
import re
from email.message import EmailMessage
from pathlib import Path
from typing import Any

import pytest
from workspace.identity.v1 import account_pb2 as ac
from workspace.identity.v1 import account_service_pb2 as acs
from workspace.identity.v1 import invitation_service_pb2 as ivs

import identity_svc.module
import project_svc.module
import services.processes.workspace
from identity_svc.notifications.quota import HOURLY
from services.events.outbox import OutboxEvent
from services.model.families import FAMILIES
from services.records.record import Activity, Write
from tests.harness import Workspace
from tests.integration.identity.inviting import TO_READERS, VIEW, Crash, Scene
from tests.integration.identity.people import ANN, BOB, CAT, DAN, SUSPENDED, VIEWER
from tests.integration.identity.post import DOWN, REFUSED, Flaky, Post, text, to

DAY = 24 * 3600
TOKEN = re.compile(r"i_[a-z0-9]+\.[A-Za-z0-9_-]{43}")


async def shared(post: Post) -> str:
    """An event with one recipient: bob."""
    project_id = await post.project()
    await post.skip()
    await post.give(project_id, BOB, VIEW)
    return project_id


async def events_of(post: Post, type_: str) -> list[OutboxEvent]:
    return [each for each in await post.events() if each.event.type == type_]


# -- at least once, and not more than one repeat


async def test_a_repeat_of_the_relay_makes_no_second_mail(post: Post) -> None:
    flaky = Flaky(post.driver)
    post.drive(flaky)
    await shared(post)
    events = await post.relay()
    await post.later(0.1)
    post.begin_again()
    await post.parts.consumers[0].deliver(events)
    assert await post.later(600) == []
    assert len(flaky.given) == 1


async def test_a_crash_before_sending_loses_nothing(
    post: Post, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Dies at every write of a row, one after the other, and begins again."""
    await shared(post)
    put_row, crashes = post.ws.records.put_row, 0

    async def dying(*args: Any) -> Any:
        nonlocal crashes
        if crashes < 12:
            crashes += 1
            raise Crash
        return await put_row(*args)

    events = await post.events()
    monkeypatch.setattr(post.ws.records, "put_row", dying)
    for _ in range(40):
        try:
            await post.parts.consumers[0].deliver(events)
            await post.later(130)
        except Crash:
            post.begin_again()
    assert crashes == 12
    assert to(post.all()) == [BOB]


async def test_a_crash_after_sending_repeats_with_the_same_message_id(
    post: Post, monkeypatch: pytest.MonkeyPatch
) -> None:
    flaky = Flaky(post.driver)
    post.drive(flaky)
    await shared(post)
    await post.relay()
    put_row = post.ws.records.put_row

    async def dying(put: Any) -> Any:
        if flaky.given and put.key.pk.startswith("MAIL#"):
            raise Crash
        return await put_row(put)

    with monkeypatch.context() as dead:
        dead.setattr(post.ws.records, "put_row", dying)
        await post.later(0.1)
    assert len(flaky.given) == 1
    post.begin_again()
    for _ in range(5):
        await post.later(300)
    first, second = flaky.given
    assert first == second  # one repeat, and the receiver sees one Message-ID
    assert len(post.all()) == 1


async def test_two_processes_send_once(post: Post) -> None:
    flaky = Flaky(post.driver)
    post.drive(flaky)
    await shared(post)
    events = await post.relay()
    first = post.parts
    post.begin_again()
    post.offset += 0.1
    await post.parts.consumers[0].deliver(events)
    await asyncio.gather(post.due.run(first.due), post.due.run(post.parts.due))
    await post.later(600)
    assert len(flaky.given) == 1


async def test_old_news_is_no_news(post: Post) -> None:
    await shared(post)
    post.offset += 4 * DAY
    assert await post.deliver() == []


# -- the mail system


async def test_a_server_that_is_down_is_asked_rarely_and_gets_all_later(post: Post) -> None:
    flaky = Flaky(post.driver)
    post.drive(flaky)
    flaky.error = DOWN
    project_id = await post.project()
    await post.skip()
    for person in (BOB, CAT, DAN):
        await post.give(project_id, person, VIEW)
    await post.deliver()
    assert len(flaky.given) == 1  # one letter asks for all
    for _ in range(12):
        assert await post.later(300) == []
    assert len(flaky.given) < 12
    flaky.error = None
    post.begin_again()  # a restart in between changes nothing
    await post.later(1000)
    await post.later(1000)
    assert to(post.all()) == [BOB, CAT, DAN]


async def test_after_three_days_a_letter_is_given_up_and_that_is_noted(post: Post) -> None:
    flaky = Flaky(post.driver)
    post.drive(flaky)
    flaky.error = DOWN
    await shared(post)
    await post.deliver()
    await post.events()
    for _ in range(5):
        await post.later(DAY)
    noted = await events_of(post, "notification.given_up")
    assert [each.pk for each in noted] == [f"USER#{post.bob}"]
    flaky.error = None
    assert await post.later(DAY) == []


async def test_a_refused_mail_is_noted_without_the_address(
    post: Post, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    flaky = Flaky(post.driver)
    post.drive(flaky)
    flaky.error = REFUSED
    made = await post.invite(email="no-such@example.com")
    await shared(post)
    await post.invitations(ANN).ResendInvitation(
        ivs.ResendInvitationRequest(invitation_id=made.invitation.invitation_id)
    )
    await post.deliver()
    noted = await events_of(post, "notification.refused")
    resources = sorted(each.event.resource.partition("/notifications/")[0] for each in noted)
    assert resources == [
        f"invitations/{made.invitation.invitation_id}", f"users/{post.bob}",
    ]
    assert all("example.com" not in each.item.body for each in noted)
    assert "no-such@example.com" not in caplog.text
    assert await post.later(DAY) == []
    assert len(flaky.given) == 2  # nobody tries again


# -- not too much


async def test_twenty_an_hour_and_then_one_summary(post: Post) -> None:
    projects = [await post.project(name=f"P{n}") for n in range(HOURLY + 3)]
    await post.skip()
    for project_id in projects:
        await post.give(project_id, BOB, VIEW)
    assert to(await post.deliver()) == [BOB] * HOURLY
    team_id = await post.team(ANN)
    made = await post.invite(team_id=team_id, terms={"team_role": 2}, email=BOB)
    assert await post.deliver() == []
    await post.invitations(ANN).RevokeInvitation(
        ivs.RevokeInvitationRequest(invitation_id=made.invitation.invitation_id)
    )
    assert await post.later(3000) == []
    summary = await post.later(700)
    assert [(each["To"], each["Subject"]) for each in summary] == [
        (BOB, "4 more notifications")
    ]
    assert "- invitation.received: 1\n- project.shared: 3" in text(summary[0]).replace("\r", "")
    assert "P2" not in text(summary[0])
    await post.later(3600)
    await post.remove(ANN, post.account_id, BOB)
    assert BOB in to(await post.deliver())


async def test_one_event_is_mailed_to_fifty_people_at_most(post: Post) -> None:
    names = [f"m{n:02}@example.com" for n in range(60)]
    kind = FAMILIES["account_member"]
    for name in names:
        user = await post.outsider(name, subject=name)
        row = ac.AccountMember(
            account_id=post.account_id, user_id=user, role=VIEWER,
            status=ac.MEMBER_STATUS_ACTIVE,
        )
        await post.ws.records.commit(
            f"ACCOUNT#{post.account_id}", [Write(kind, row)],
            activity=Activity("test.edited", "tests/1"),
        )
    await post.accounts(ANN).UpdateNotificationRouting(
        acs.UpdateNotificationRoutingRequest(
            notification_routing=ac.NotificationRouting(
                account_id=post.account_id, topic="account.members", roles=[VIEWER]
            ),
            update_mask={"paths": ["roles"]},
        )
    )
    await post.skip()
    await post.member(ANN, post.account_id, BOB, "status", status=SUSPENDED)
    mails = await post.deliver()
    assert len(mails) == 50
    assert BOB in to(mails)  # whom it concerns most is not cut off


async def test_a_flood_of_invitations_to_one_address_is_bounded(post: Post) -> None:
    teams = [await post.team(ANN, name=f"T{n}") for n in range(HOURLY + 2)]
    await post.skip()
    terms = {"team_role": 2}
    made = [
        await post.invite(team_id=team_id, terms=terms, email="victim@example.com")
        for team_id in teams
    ]
    sent = await post.deliver()
    assert len(sent) == HOURLY
    held = [each for each in made if not any(each.token in text(mail) for mail in sent)]
    await post.invitations(ANN).RevokeInvitation(
        ivs.RevokeInvitationRequest(invitation_id=held[0].invitation.invitation_id)
    )
    summary = await post.later(3700)
    assert [each["Subject"] for each in summary] == ["2 more notifications"]
    assert TOKEN.search(summary[0].as_string()) is None


# -- secrets


@pytest.mark.case("I07")
async def test_no_token_but_the_recipients_own_in_any_mail_or_log(
    post: Post, caplog: pytest.LogCaptureFixture
) -> None:
    """reliability I07: the token is in the fragment of one link, and nowhere else."""
    caplog.set_level(logging.DEBUG)
    project_id = await post.project()
    await post.skip()
    own = {
        "new@example.com": await post.invite(email="new@example.com"),
        CAT: await post.invite(email=CAT),
        DAN: await post.invite(project_id=project_id, terms=TO_READERS, email=DAN),
    }
    await post.deliver()
    await post.accept(CAT, own[CAT].token)
    await post.accept(DAN, own[DAN].token)
    await post.deliver()
    mails = post.all()
    assert len(mails) >= 5
    for mail in mails:
        found = set(TOKEN.findall(raw(mail)))
        mine = own.get(str(mail["To"]))
        assert found <= ({mine.token} if mine else set()), mail["Subject"]
    for address, made in own.items():
        mail = next(m for m in mails if m["To"] == address and "Invitation" in m["Subject"])
        assert f"#{made.token}" in text(mail)
        assert f"{made.token}" not in text(mail).replace(f"#{made.token}", "")
        assert made.token not in caplog.text
        assert made.token.partition(".")[2] not in caplog.text
    for address in ("new@example.com", CAT, DAN):
        assert address not in "\n".join(
            record.getMessage() for record in caplog.records if record.name.startswith("workspace")
        )


async def test_rows_of_the_post_have_no_address_no_name_and_no_token(post: Post) -> None:
    flaky = Flaky(post.driver)
    post.drive(flaky)
    flaky.error = DOWN
    made = await post.invite(email="new@example.com")
    await post.deliver()
    items = await post.ws.records.driver.scan(None, 10_000)
    rows = [item for item in items if item.key.pk.startswith(("MAIL#", "DUE#"))]
    text_of_all = "".join(f"{item.key.pk}{item.key.sk}{item.body}" for item in rows)
    assert made.invitation.invitation_id in text_of_all
    for secret in ("new@example", "Acme", made.token.partition(".")[2]):
        assert secret not in text_of_all


def raw(mail: EmailMessage) -> str:
    return mail.as_string() + text(mail)


# -- the whole process


async def test_a_process_sends_by_itself_into_its_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    modules = [identity_svc.module.build, project_svc.module.build]
    monkeypatch.setattr(services.processes.workspace, "find_services", lambda: modules)
    monkeypatch.setattr(services.processes.workspace, "_DUE_SECONDS", 0.1)
    async with Workspace.open(tmp_path) as ws:
        scene = Scene(ws)
        await scene.enter()
        made = await scene.invite(email="new@example.com")
        folder = tmp_path / "wm-data" / "mail"

        async def arrived() -> str:
            while True:
                found = [path.read_text() for path in folder.glob("*.eml")]
                for mail in found:
                    if "To: new@example.com" in mail:
                        return mail
                await asyncio.sleep(0.05)

        mail = await asyncio.wait_for(arrived(), 20)
    assert f"{ws.http}/invitations#" in mail.replace("=\n", "")
    assert made.token.partition(".")[0] in mail.replace("=\n", "")


async def test_switched_off_it_sends_and_keeps_nothing(tmp_path: Path) -> None:
    async with Workspace.open(tmp_path, mail="off") as ws:
        assert ws.process.kernel.mail is None
        identity = next(each for each in ws.process.modules if each.name == "identity_svc")
        assert not identity.consumers
        await ws.process.kernel.due.schedule("mail.letter", "u_x|m", 0)
        assert await ws.process.kernel.due.run(dict(identity.due)) >= 0
        assert await ws.process.kernel.due.run(dict(identity.due)) == 0
