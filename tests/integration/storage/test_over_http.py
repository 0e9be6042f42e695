"""The same calls as JSON through the gateway, as a browser makes them."""

from __future__ import annotations

from tests.chosen_records import plain_client
from tests.integration.storage.people import ANN, Desk, request_id, sha256

DATA = b"over http\n" * 1000


async def test_upload_and_download_with_json_and_plain_http(desk: Desk) -> None:
    document_id = await desk.document("note.txt")
    async with desk.ws.client(ANN) as api, plain_client() as plain:
        body = {
            "filename": "note.txt",
            "content_type": "text/plain",
            "size_bytes": str(len(DATA)),
            "sha256": sha256(DATA),
            "request_id": request_id(),
        }
        made = (await api.post(f"/api/documents/{document_id}/uploads", json=body)).json()
        transfer, upload_id = made["transfer"], made["upload"]["upload_id"]
        sent = await plain.put(transfer["url"], content=DATA, headers=transfer["headers"])
        assert sent.is_success
        done = await api.post(f"/api/uploads/{upload_id}:complete", json={})
        assert done.json()["file"]["status"] == "FILE_STATUS_AVAILABLE"
        asked = await api.post("/api/downloads", json={"document_id": document_id})
        assert asked.status_code == 200
        assert (await plain.get(asked.json()["transfer"]["url"])).content == DATA
        seen = await api.get(f"/api/documents/{document_id}/object")
        assert seen.json()["object"]["consistent"] is True
