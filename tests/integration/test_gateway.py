from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest

from services.http.limits import HttpLimits
from tests.integration.gateway_app import ETAG, QUOTA, Running, serving

JSON = {"content-type": "application/json"}


@pytest.fixture(params=["socket", "local"])
async def app(request: pytest.FixtureRequest) -> AsyncIterator[Running]:
    limits = HttpLimits(stream_head_wait=0.2)
    async with serving(
        local=request.param == "local", limits=limits, max_body_bytes=256 * 1024
    ) as running:
        yield running


def reason(response: httpx.Response) -> str:
    details: list[dict[str, Any]] = response.json()["details"]
    assert details[0]["@type"] == "type.googleapis.com/google.rpc.ErrorInfo"
    assert details[0]["domain"] == "workspace"
    return str(details[0]["reason"])


def field(response: httpx.Response) -> str:
    assert reason(response) == "ERROR_REASON_INVALID_FIELD"
    return str(response.json()["details"][0]["metadata"]["field"])


@pytest.mark.case("A12")
async def test_get_answers_snake_case_and_safe_headers(app: Running) -> None:
    async with app.client() as client:
        response = await client.get("/api/accounts/a1", headers={"x-request-id": "abc-1"})
    assert response.status_code == 200
    account = response.json()["account"]
    assert account["account_id"] == "a1"
    assert account["quota_bytes"] == str(QUOTA)
    assert account["legal_hold"] is False
    assert response.headers["etag"] == account["etag"] == ETAG
    assert response.headers["x-request-id"] == "abc-1"
    assert response.headers["cache-control"] == "no-store"
    assert response.headers["x-content-type-options"] == "nosniff"
    assert response.headers["content-type"] == "application/json"
    assert "server" not in response.headers


@pytest.mark.case("S03")
async def test_only_listed_headers_reach_the_service(app: Running) -> None:
    sent = {
        "authorization": "Bearer t",
        "x-request-id": "abc-2",
        "traceparent": "00-" + "a" * 32 + "-" + "b" * 16 + "-01",
        "x-user-id": "admin",
        "x-forwarded-for": "1.2.3.4",
        "x-workspace-client": "1.2.3.4",
        "grpc-metadata-x-user-id": "admin",
        "grpc-timeout": "99999999H",
        "grpc-status": "0",
        "te": "trailers",
        "cookie": "a=b",
        "x-secret-bin": "aGk=",
        "x-http-method-override": "DELETE",
    }
    async with app.client() as client:
        response = await client.get("/api/accounts/a1", headers=sent)
    assert response.status_code == 200
    seen = {key: value for key, value in app.accounts.metadata.items() if key != "user-agent"}
    assert seen == {
        "authorization": ["Bearer t"],
        "x-request-id": ["abc-2"],
        "traceparent": [sent["traceparent"]],
        "x-workspace-client": ["127.0.0.1"],  # the address that asks, whatever it says
    }


async def test_unsafe_request_id_and_traceparent_are_not_kept(app: Running) -> None:
    async with app.client() as client:
        response = await client.get(
            "/api/accounts/a1", headers={"x-request-id": "a b\tc", "traceparent": "junk"}
        )
    made = response.headers["x-request-id"]
    assert made != "a b\tc"
    assert app.accounts.metadata["x-request-id"] == [made]
    assert "traceparent" not in app.accounts.metadata


@pytest.mark.parametrize(("sent", "most"), [("", 10), ("2.5", 2.5), ("86400", 30)])
async def test_deadline_is_bounded(app: Running, sent: str, most: float) -> None:
    async with app.client() as client:
        headers = {"x-timeout-seconds": sent} if sent else {}
        assert (await client.get("/api/accounts/a1", headers=headers)).status_code == 200
    assert app.accounts.remaining is not None
    # gRPC rounds a deadline up by as much as a few milliseconds.
    assert 0 < app.accounts.remaining < most + 1


@pytest.mark.parametrize("sent", ["0", "-1", "inf", "1e3", "x", ""])
async def test_bad_deadline(app: Running, sent: str) -> None:
    async with app.client() as client:
        response = await client.get("/api/accounts/a1", headers={"x-timeout-seconds": sent})
    assert response.status_code == 400
    assert field(response) == "x-timeout-seconds"


async def test_passed_deadline(app: Running) -> None:
    async with app.client() as client:
        response = await client.get("/api/accounts/slow", headers={"x-timeout-seconds": "0.2"})
    assert response.status_code == 504
    assert reason(response) == "ERROR_REASON_DEADLINE_EXCEEDED"


@pytest.mark.case("T17")
async def test_two_authorization_headers(app: Running) -> None:
    async with app.client() as client:
        response = await client.get(
            "/api/accounts/a1",
            headers=[("authorization", "Bearer a"), ("authorization", "Bearer b")],
        )
    assert response.status_code == 401
    assert reason(response) == "ERROR_REASON_UNAUTHENTICATED"
    assert response.headers["www-authenticate"] == "Bearer"
    assert app.accounts.calls == []


@pytest.mark.case("T18")
async def test_token_in_the_url(app: Running) -> None:
    async with app.client() as client:
        response = await client.get("/api/accounts/a1?access_token=abc")
    assert response.status_code == 400
    assert field(response) == "access_token"
    assert app.accounts.calls == []


@pytest.mark.case("A03")
async def test_large_token_passes_always(app: Running) -> None:
    bearer = "Bearer " + "g" * 11_300
    async with app.client() as client:
        for _ in range(20):
            response = await client.get("/api/accounts/a1", headers={"authorization": bearer})
            assert response.status_code == 200
        huge = await client.get(
            "/api/accounts/a1", headers={"authorization": "Bearer " + "g" * 30_000}
        )
    assert huge.status_code == 431


async def test_errors_of_services(app: Running) -> None:
    async with app.client() as client:
        forbidden = await client.get("/api/accounts/forbidden")
        defect = await client.get("/api/accounts/defect")
        busy = await client.get("/api/accounts/busy")
    assert forbidden.status_code == 403
    assert forbidden.json()["code"] == 7
    assert reason(forbidden) == "ERROR_REASON_PERMISSION_DENIED"
    assert defect.status_code == 500
    assert "secret" not in defect.text
    assert defect.headers["x-request-id"] in defect.text
    assert busy.status_code == 409
    assert busy.headers["retry-after"] == "3"


@pytest.mark.case("Z17", "Z19")
async def test_unknown_paths_and_methods(app: Running) -> None:
    async with app.client() as client:
        missing = await client.get("/api/nothing")
        unserved = await client.get("/api/accounts/a1/members")
        internal = await client.get("/internal/users/u1/memberships")
        wrong = await client.put("/api/accounts/a1", json={})
        options = await client.request("OPTIONS", "/api/accounts/a1")
        trace = await client.request("TRACE", "/api/accounts/a1")
        posted = await client.post("/healthz")
        slash = await client.get("/healthz/")
    for response in (missing, unserved, internal, slash):
        assert response.status_code == 404
        assert reason(response) == "ERROR_REASON_NOT_SERVED"
    for response in (wrong, options, trace):
        assert response.status_code == 405
        assert response.headers["allow"] == "GET, PATCH"
        assert reason(response) == "ERROR_REASON_NOT_SERVED"
    assert posted.status_code == 405
    assert "GET" in posted.headers["allow"]


@pytest.mark.case("Z17")
async def test_method_override_is_ignored(app: Running) -> None:
    headers = {
        "x-http-method-override": "PATCH",
        "x-http-method": "PATCH",
        "x-method-override": "PATCH",
    }
    async with app.client() as client:
        response = await client.post("/api/accounts/a1", json={}, headers=headers)
    assert response.status_code == 405
    assert app.accounts.calls == []


@pytest.mark.case("Z18")
@pytest.mark.parametrize("segment", ["a%2Fb", "a;b", "%2e%2e", "%252e%252e", ""])
async def test_bad_path_parameters(app: Running, segment: str) -> None:
    response = await app.raw(
        f"GET /api/accounts/{segment} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n".encode()
    )
    assert response.startswith(b"HTTP/1.1 400 ")
    assert b'"field": "account_id"' in response


async def test_create_and_update(app: Running) -> None:
    async with app.client() as client:
        created = await client.post(
            "/api/accounts", json={"name": "Ärger & Söhne", "type": "company"}
        )
        updated = await client.patch(
            "/api/accounts/a1?update_mask=name,billing_plan",
            json={"name": "n", "billingPlan": "free"},
            headers={"if-match": ETAG},
        )
    assert created.json()["account"]["name"] == "Ärger & Söhne"
    assert updated.json()["account"]["billing_plan"] == "free"
    assert updated.headers["etag"] == ETAG
    request = app.accounts.calls[-1]
    assert request.account.account_id == "a1"
    assert request.account.etag == ETAG
    assert list(request.update_mask.paths) == ["name", "billing_plan"]


@pytest.mark.parametrize("value", ['W/"e"', "e", '"a", "b"', '""', '"a'])
async def test_bad_if_match(app: Running, value: str) -> None:
    async with app.client() as client:
        response = await client.patch("/api/accounts/a1", json={}, headers={"if-match": value})
    assert response.status_code == 400
    assert field(response) == "if-match"


async def test_bad_bodies_name_the_member(app: Running) -> None:
    async with app.client() as client:
        unknown = await client.post("/api/accounts", content=b'{"nmae":"x"}', headers=JSON)
        both = await client.post(
            "/api/accounts", content=b'{"billing_plan":"a","billingPlan":"a"}', headers=JSON
        )
        deep = await client.post("/api/accounts", content=b"[" * 100_000, headers=JSON)
        query = await client.get("/api/accounts?nope=1")
    assert [field(response) for response in (unknown, both, deep, query)] == [
        "nmae", "billing_plan", "body", "nope",
    ]  # fmt: skip
    assert unknown.json()["details"][1]["field_violations"][0]["field"] == "nmae"
    assert app.accounts.calls == []


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"content-type": "text/plain"},
        {"content-type": "application/x-www-form-urlencoded"},
        {"content-type": "application/json; charset=utf-16"},
        {"content-type": "application/jsonx"},
        {"content-type": "application/json", "content-encoding": "gzip"},
        {"content-type": "application/json", "content-encoding": "deflate, identity"},
    ],
)
@pytest.mark.case("A02")
async def test_only_plain_json(app: Running, headers: dict[str, str]) -> None:
    async with app.client() as client:
        response = await client.post("/api/accounts", content=b'{"name":"x"}', headers=headers)
    assert response.status_code == 415
    assert field(response) in {"content-type", "content-encoding"}


@pytest.mark.case("A01", "A11")
async def test_body_limit_by_length_and_by_count(app: Running) -> None:
    body = b'{"description":"' + b"x" * (256 * 1024) + b'"}'

    async def chunks() -> AsyncIterator[bytes]:
        for start in range(0, len(body), 8192):
            yield body[start : start + 8192]

    async with app.client() as client:
        chunked = await client.post("/api/accounts", content=chunks(), headers=JSON)
    declared = await app.raw(
        b"POST /api/accounts HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\n"
        b"content-length: 99999999\r\n\r\n"
    )
    assert chunked.status_code == 413
    assert reason(chunked) == "ERROR_REASON_LIMIT_EXCEEDED"
    assert declared.startswith(b"HTTP/1.1 413 ")
    assert app.accounts.calls == []


async def test_large_bodies_and_answers_below_the_limit(app: Running) -> None:
    text = "y" * (200 * 1024)
    async with app.client() as client:
        created = await client.post("/api/accounts", json={"description": text})
        large = await client.get("/api/accounts/large")
    assert created.json()["account"]["description"] == text
    assert large.json()["account"]["description"] == "é" * 200_000


@pytest.mark.case("A21")
async def test_a_body_longer_or_shorter_than_its_length(app: Running) -> None:
    head = b"POST /api/accounts HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\n"
    longer = await app.raw(head + b"content-length: 2\r\n\r\n{}GARBAGE\r\n\r\n", half_close=True)
    assert longer.count(b"HTTP/1.1 200 ") <= 1
    assert b"GARBAGE" not in longer
    await app.raw(head + b"content-length: 50\r\n\r\n{", half_close=True)
    assert len(app.accounts.calls) <= 1


@pytest.mark.parametrize(
    "lines",
    [
        b"content-length: 2\r\ntransfer-encoding: chunked\r\n",
        b"content-length: 2\r\ncontent-length: 3\r\n",
        b"content-length: +2\r\n",
        b"transfer-encoding: chunked, identity\r\n",
        b"x: a\r\n  folded\r\nbad header\r\n",
    ],
)
@pytest.mark.case("A21")
async def test_ambiguous_framing_is_refused(app: Running, lines: bytes) -> None:
    response = await app.raw(
        b"POST /api/accounts HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\n"
        + lines
        + b"\r\n{}",
        half_close=True,
    )
    assert response.startswith((b"HTTP/1.1 400 ", b"HTTP/1.1 501 "))
    assert app.accounts.calls == []


async def test_disconnect_cancels_the_call(app: Running) -> None:
    _, writer = await asyncio.open_connection("127.0.0.1", app.port)
    writer.write(b"GET /api/accounts/slow HTTP/1.1\r\nhost: x\r\n\r\n")
    await app.accounts.waiting.wait()
    writer.transport.abort()
    async with asyncio.timeout(10):
        await app.accounts.cancelled.wait()


async def test_stream_is_ndjson(app: Running) -> None:
    async with app.client() as client:
        response = await client.get("/api/events:watch?account_id=a1")
    assert response.headers["content-type"] == "application/x-ndjson"
    lines = [json.loads(line) for line in response.text.splitlines()]
    assert [line["result"]["resume_token"] for line in lines] == ["t0", "t1", "t2"]


async def test_stream_failures_early_and_late(app: Running) -> None:
    async with app.client() as client:
        early = await client.get("/api/events:watch?account_id=forbidden")
        late = await client.get("/api/events:watch?account_id=late")
    assert early.status_code == 403
    assert reason(early) == "ERROR_REASON_PERMISSION_DENIED"
    assert late.status_code == 200
    last = json.loads(late.text.splitlines()[-1])
    assert last["error"]["code"] == 11
    assert last["error"]["details"][0]["reason"] == "ERROR_REASON_CURSOR_LOST"


@pytest.mark.parametrize("account", ["silent", "endless"])
async def test_leaving_a_stream_cancels_it(app: Running, account: str) -> None:
    async with (
        app.client() as client,
        client.stream("GET", f"/api/events:watch?account_id={account}") as response,
    ):
        assert response.status_code == 200  # also when nothing has happened yet
    async with asyncio.timeout(10):
        await app.history.cancelled.wait()


async def test_probes_follow_readiness(app: Running) -> None:
    async with app.client() as client:
        assert (await client.get("/readyz")).json() == {"status": "ready"}
        app.ready = False
        not_ready = await client.get("/readyz")
        alive = await client.get("/healthz")
    assert not_ready.status_code == 503
    assert alive.json() == {"status": "ok"}
    assert alive.headers["x-content-type-options"] == "nosniff"


async def test_landing_page(app: Running) -> None:
    async with app.client() as client:
        response = await client.get("/")
    assert response.json()["name"] == "workspace-management"
    assert response.json()["links"]["ready"] == "/readyz"


async def test_metrics_have_templates_as_labels(app: Running) -> None:
    async with app.client() as client:
        await client.get("/api/accounts/a1")
        await client.get("/api/nothing/x9")
        text = (await client.get("/metrics")).text
    wanted = 'method="GET",route="/api/accounts/{account_id}",status="200"} 1.0'
    assert "workspace_http_requests_total{" + wanted in text
    assert 'route="other",status="404"} 1.0' in text
    assert "x9" not in text


async def test_metrics_have_one_spelling(app: Running) -> None:
    """A load balancer that keeps `/metrics` from strangers compares the path as sent."""
    async with app.client() as client:
        for path in ("/%6detrics", "/metric%73", "/%6D%65%74%72%69%63%73"):
            response = await client.get(path)
            assert response.status_code == 404, path
            assert "workspace_" not in response.text
        assert (await client.get("/metrics?x=1")).status_code == 200
