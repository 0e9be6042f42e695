"""Outgoing requests: public addresses only, the checked one, the right certificate."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from pathlib import Path

import pytest

from services.events.egress import AddressRefused, Egress, PostFailed
from tests.receiver import Receiver

LOOPBACK = ("127.0.0.0/8", "::1/128")


@pytest.fixture
async def receiver(tmp_path: Path) -> AsyncIterator[Receiver]:
    async with Receiver.open(tmp_path / "receiver") as opened:
        yield opened


def resolving(*answers: Sequence[str]) -> Egress:
    """An egress whose names resolve to these answers, one after the other."""
    left = list(answers)

    async def resolve(_host: str, _port: int) -> Sequence[str]:
        return left.pop(0) if len(left) > 1 else left[0]

    return Egress(resolve=resolve)


@pytest.mark.case("S08")
@pytest.mark.parametrize(
    "address",
    [
        "127.0.0.1", "127.8.8.8", "0.0.0.0", "10.0.0.1", "172.16.0.1", "192.168.1.1",
        "169.254.169.254", "169.254.170.2", "100.64.0.1", "100.100.100.200", "168.63.129.16",
        "192.0.0.192", "192.0.2.1", "198.18.0.1", "203.0.113.9", "224.0.0.1", "240.0.0.1",
        "255.255.255.255", "192.88.99.1", "::", "::1", "::ffff:127.0.0.1", "::ffff:10.0.0.1",
        "::ffff:169.254.169.254", "64:ff9b::a00:1", "64:ff9b::7f00:1", "2002:7f00:1::",
        "2001:0:7f00:1::", "fe80::1", "fe80::1%eth0", "fc00::1", "fd00:ec2::254", "fec0::1",
        "ff02::1", "2001:db8::1", "100::1", "::7f00:1", "::ffff:0:7f00:1", "64:ff9b:1::1",
        "3fff::1", "5f00::1", "not an address",
    ],
)  # fmt: skip
async def test_addresses_inside_are_refused(address: str) -> None:
    for answer in ([address], ["93.184.215.14", address]):
        with pytest.raises(AddressRefused):
            await resolving(answer).check("https://receiver.example/hook")


async def test_public_addresses_are_allowed_ipv4_first() -> None:
    egress = resolving(["2606:2800:21f:cb07:6820:80da:af6b:8b2c", "93.184.215.14"])
    found = await egress.check("https://receiver.example/hook")
    assert found == ["93.184.215.14", "2606:2800:21f:cb07:6820:80da:af6b:8b2c"]


@pytest.mark.case("S08")
@pytest.mark.parametrize(
    "url",
    [
        "http://receiver.example/", "ftp://receiver.example/", "https:///path", "https://",
        "https://user@receiver.example/", "https://user:pw@receiver.example/",
        "https://receiver.example/#part", "file:///etc/passwd", "https://[::1",
    ],
)  # fmt: skip
async def test_other_urls_are_refused(url: str) -> None:
    with pytest.raises(AddressRefused):
        await resolving(["93.184.215.14"]).check(url)


@pytest.mark.case("S08")
@pytest.mark.parametrize(
    "host",
    ["127.0.0.1", "127.1", "2130706433", "0x7f.0.0.1", "0177.0.0.1", "[::1]", "[::ffff:7f00:1]",
     "localhost", "localhost.", "0"],
)  # fmt: skip
async def test_every_spelling_of_this_machine_is_refused(host: str) -> None:
    """By the real resolver, which knows them all."""
    with pytest.raises((AddressRefused, PostFailed)):
        await Egress().check(f"https://{host}/hook")


async def test_a_post_arrives_with_its_host_and_a_verified_name(receiver: Receiver) -> None:
    egress = Egress(networks=LOOPBACK, ca_file=receiver.ca_file)
    url = receiver.url(path="/hook?a=b%20c")
    assert await egress.post(url, headers={"x-one": "1"}, body=b"{}") == 200
    request = receiver.requests[0]
    assert request.line == "POST /hook?a=b%20c HTTP/1.1"
    assert request.headers["host"] == f"localhost:{receiver.port}"
    assert (request.headers["x-one"], request.body) == ("1", b"{}")


@pytest.mark.case("S08")
async def test_the_connection_goes_to_the_address_that_was_checked(receiver: Receiver) -> None:
    """A name that answers something else the second time is asked once."""
    asked: list[str] = []

    async def resolve(host: str, _port: int) -> Sequence[str]:
        asked.append(host)
        return ["127.0.0.1"] if len(asked) == 1 else ["192.0.2.1"]

    egress = Egress(networks=LOOPBACK, ca_file=receiver.ca_file, resolve=resolve)
    assert await egress.post(receiver.url(), headers={}, body=b"") == 200
    assert asked == ["localhost"]


@pytest.mark.case("S08")
async def test_an_address_that_moved_inside_is_refused_when_it_is_used() -> None:
    egress = resolving(["93.184.215.14"], ["127.0.0.1"])
    await egress.check("https://receiver.example/hook")
    with pytest.raises(AddressRefused):
        await egress.post("https://receiver.example/hook", headers={}, body=b"")


async def test_a_certificate_of_another_name_or_authority_is_refused(
    receiver: Receiver, tmp_path: Path
) -> None:
    async with Receiver.open(tmp_path / "other", name="other.example") as other:
        named = Egress(networks=LOOPBACK, ca_file=other.ca_file)
        with pytest.raises(PostFailed):
            await named.post(other.url(), headers={}, body=b"")
        for egress in (Egress(networks=LOOPBACK), named):
            with pytest.raises(PostFailed):
                await egress.post(receiver.url(), headers={}, body=b"")
        assert [*other.requests, *receiver.requests] == []


@pytest.mark.case("S08")
async def test_redirects_are_answers(receiver: Receiver) -> None:
    receiver.statuses = ["302 Found"]
    receiver.headers = f"location: {receiver.url(path='/inside')}\r\n"
    egress = Egress(networks=LOOPBACK, ca_file=receiver.ca_file)
    assert await egress.post(receiver.url(), headers={}, body=b"") == 302
    assert len(receiver.requests) == 1


async def test_a_receiver_that_is_silent_or_gone_fails_in_time(receiver: Receiver) -> None:
    receiver.silent = True
    egress = Egress(networks=LOOPBACK, ca_file=receiver.ca_file, seconds=0.2)
    with pytest.raises(PostFailed):
        await egress.post(receiver.url(), headers={}, body=b"")
    with pytest.raises(PostFailed):
        await egress.post("https://localhost:1/", headers={}, body=b"")


@pytest.mark.case("S08")
async def test_the_proxy_of_the_environment_is_not_used(
    receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("HTTPS_PROXY", "https_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")
    egress = Egress(networks=LOOPBACK, ca_file=receiver.ca_file)
    assert await egress.post(receiver.url(), headers={}, body=b"") == 200
