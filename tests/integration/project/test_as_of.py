"""GetDocumentAsOf: at every instant what a reader would have seen then."""

from __future__ import annotations

import random
from datetime import timedelta
from typing import Any

import pytest
from google.protobuf.field_mask_pb2 import FieldMask
from google.protobuf.struct_pb2 import Struct
from google.protobuf.timestamp_pb2 import Timestamp
from workspace.project.v1 import document_service_pb2 as pb
from workspace.project.v1.document_pb2 import Document
from workspace.project.v1.history_pb2 import MetadataRecordType, WriteEventKind
from workspace.project.v1.history_service_pb2 import (
    AppendMetadataRecordRequest,
    CreateWriteEventRequest,
    ListActivityRequest,
)
from workspace.project.v1.link_pb2 import ObjectLink
from workspace.project.v1.project_service_pb2 import AssignProjectRequest

from services.model.times import from_timestamp, to_timestamp
from tests.integration.project.files import (
    HOLD,
    REJECTED,
    arrived,
    authorize,
    create,
    documents,
    history,
    project,
    storage,
    upload,
)
from tests.integration.project.world import World, refused, request_id

_TICK = timedelta(microseconds=1)
_EXTRACTION = MetadataRecordType.METADATA_RECORD_TYPE_EXTRACTION
_CURATED = MetadataRecordType.METADATA_RECORD_TYPE_CURATED


async def as_of(world: World, document_id: str, time: Timestamp, user: str = "ann") -> Any:
    return await documents(world, user).GetDocumentAsOf(
        pb.GetDocumentAsOfRequest(document_id=document_id, time=time)
    )


def before(time: Timestamp) -> Timestamp:
    return to_timestamp(from_timestamp(time) - _TICK)


def plain(document: Document) -> Document:
    """Without the etag, which names a version to write over."""
    copy = Document()
    copy.CopyFrom(document)
    copy.ClearField("etag")
    return copy


class Life:
    """A document that is changed at random; `states` are all it ever was."""

    def __init__(self, world: World, home: str, document: Document, seed: int) -> None:
        self.world, self.home = world, home
        self.rng = random.Random(seed)
        self.states = [plain(document)]
        self.uploads = 0

    @property
    def now(self) -> Document:
        return self.states[-1]

    async def live(self, steps: int) -> None:
        acts = (self.update, self.link, self.move, self.archive, self.trash, self.file, self.talk)
        for _ in range(steps):
            self.world.offset += self.rng.choice((-30.0, 0.0, 0.0, 5.0))
            await self.rng.choice(acts)()
            await self.look()

    async def look(self) -> None:
        seen = await documents(self.world, "ann").GetDocument(
            pb.GetDocumentRequest(document_id=self.now.document_id)
        )
        if plain(seen.document) != self.now:
            self.states.append(plain(seen.document))

    async def call(self, name: str, request: Any) -> None:
        await getattr(documents(self.world, "ann"), name)(request)

    async def update(self) -> None:
        raw = Struct()
        raw.update({"pages": self.rng.randrange(9), "deep": {"x": [None, True, 0.1, "é"]}})
        wanted = Document(
            document_id=self.now.document_id,
            title="T" * self.rng.choice((0, 1, 400)),
            metadata_confidence=self.rng.choice((0.0, 0.1, 1.0)),
            concept_tags=[f"tag {n} " + "é" * 60 for n in range(self.rng.choice((0, 2, 190)))],
            raw_metadata=raw,
        )
        paths = self.rng.sample(
            ["title", "metadata_confidence", "concept_tags", "raw_metadata"], self.rng.randint(1, 4)
        )
        if self.usable:
            await self.call(
                "UpdateDocument",
                pb.UpdateDocumentRequest(document=wanted, update_mask=FieldMask(paths=paths)),
            )

    @property
    def usable(self) -> bool:
        return self.now.status in (1, 2, 3)

    async def link(self) -> None:
        link = ObjectLink(kind="note", id=str(self.rng.randrange(3)), relation="about")
        name = self.rng.choice(("LinkObjects", "UnlinkObjects"))
        request = getattr(pb, name + "Request")(document_id=self.now.document_id, links=[link])
        if self.now.status < 5:
            await self.call(name, request)

    async def move(self) -> None:
        if self.usable:
            await self.call(
                "MoveDocument",
                pb.MoveDocumentRequest(
                    document_id=self.now.document_id,
                    relative_path=self.rng.choice(("", "a", "a/b")),
                    name=self.rng.choice(("x.pdf", "y.txt", "z")),
                ),
            )

    async def archive(self) -> None:
        if self.now.status in (3, 4):
            await self.call(
                "ArchiveDocument",
                pb.ArchiveDocumentRequest(
                    document_id=self.now.document_id, unarchive=self.now.status == 4
                ),
            )

    async def trash(self) -> None:
        name = "RestoreDocument" if self.now.status == 5 else "DeleteDocument"
        await self.call(name, getattr(pb, name + "Request")(document_id=self.now.document_id))

    async def file(self) -> None:
        if self.now.status == 3 and not self.now.HasField("pending_file"):
            await self.call(
                "CreateRevision", pb.CreateRevisionRequest(document_id=self.now.document_id)
            )
            await self.look()
        elif not (self.now.status == 1 and not self.now.HasField("pending_file")):
            return
        self.uploads += 1
        allowed = await authorize(self.world, self.now.document_id)
        request = arrived(
            allowed, f"x_{self.uploads}", self.rng.randbytes(9),
            disposition=self.rng.choice((pb.FILE_DISPOSITION_AVAILABLE, HOLD, REJECTED)),
        )
        await storage(self.world).AttachFile(request)
        await self.look()
        if request.disposition == HOLD:
            request.disposition = pb.FILE_DISPOSITION_AVAILABLE
            await storage(self.world).AttachFile(request)

    async def talk(self) -> None:
        """Rows of history that are no state of the document."""
        if self.now.status >= 5:
            return
        wrong = Struct()
        wrong.update({"title": "not a state", "document_id": "d_other"})
        about = {"document_id": self.now.document_id}
        await history(self.world, "ann").CreateWriteEvent(
            CreateWriteEventRequest(
                kind=WriteEventKind.WRITE_EVENT_KIND_NOTE, text="hm", **about  # type: ignore[arg-type]
            )
        )
        for kind in (_EXTRACTION, _CURATED):
            await history(self.world, "ann").AppendMetadataRecord(
                AppendMetadataRecordRequest(record_type=kind, snapshot=wrong, **about)  # type: ignore[arg-type]
            )


@pytest.mark.parametrize("seed", range(4))
async def test_every_state_is_found_again_at_every_instant(world: World, seed: int) -> None:
    home = await project(world, account_id="a_one")
    life = Life(world, home, await create(world, home), seed)
    await life.live(60)
    assert len(life.states) > 12
    following = [state.updated_at for state in life.states[1:]]
    for state, end in zip(life.states, [*following, Timestamp(seconds=4_000_000_000)], strict=True):
        start = state.updated_at
        assert (start.seconds, start.nanos) < (end.seconds, end.nanos)
        middle = from_timestamp(start) + (from_timestamp(end) - from_timestamp(start)) / 2
        for instant in (start, to_timestamp(middle), before(end)):
            found = await as_of(world, state.document_id, instant)
            assert found.document == state, instant
            assert found.file_kept == state.HasField("file")
            assert found.metadata_record_id
    no = await refused(as_of(world, life.now.document_id, before(life.states[0].updated_at)))
    assert (no.reason, no.code.name) == ("NOT_FOUND", "NOT_FOUND")


async def test_values_that_events_leave_out_are_exact(world: World) -> None:
    """Nothing of a state comes from events, which omit records over 16 KiB."""
    made = await create(
        world, await project(world),
        concept_tags=[f"{n} " + "é" * 190 for n in range(200)], extraction_summary="é" * 4000,
    )
    await documents(world, "ann").UpdateDocument(
        pb.UpdateDocumentRequest(document=Document(document_id=made.document_id, title="later"))
    )
    events = await history(world, "ann").ListActivity(
        ListActivityRequest(document_id=made.document_id)
    )
    changes = [c for e in events.events for c in e.changes if c.family == "document"]
    assert len(changes) == 2
    assert not any(c.HasField("after") for c in changes), "the case needs large values"
    assert (await as_of(world, made.document_id, made.updated_at)).document == plain(made)


async def test_copies_of_the_home_are_those_of_the_project_then(world: World) -> None:
    home = await project(world, account_id="a_one")
    made = await create(world, home)
    old = await as_of(world, made.document_id, made.updated_at)
    await world.projects("ann").AssignProject(
        AssignProjectRequest(project_id=home, account_id="a_two", request_id=request_id())
    )
    again = await as_of(world, made.document_id, made.updated_at)
    assert again.document == old.document
    assert again.document.account_id == "a_one"
    now = await as_of(world, made.document_id, Timestamp(seconds=4_000_000_000))
    assert now.document.account_id == "a_two"


async def test_needs_view_now_and_a_time_of_the_calendar(world: World) -> None:
    made = await create(world, await project(world))
    await upload(world, made.document_id, "x_1")
    no = await refused(as_of(world, made.document_id, made.updated_at, "bob"))
    none = await refused(as_of(world, "d_none", made.updated_at, "ann"))
    assert (no.reason, none.reason) == ("PERMISSION_DENIED", "PERMISSION_DENIED")
    last = Timestamp(seconds=253_402_300_799, nanos=999_999_999)
    far = await as_of(world, made.document_id, last)
    assert far.document.file.upload_id == "x_1"
    wrong = await refused(
        documents(world, "ann").GetDocumentAsOf(
            pb.GetDocumentAsOfRequest(document_id=made.document_id)
        )
    )
    assert wrong.reason == "INVALID_FIELD"
