"""Names of documents in a whole process: which are one, which are two, and what becomes of
their bytes. On the stores that the run has chosen (`tests/chosen_records.py`).
"""

from __future__ import annotations

import unicodedata
from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio
from workspace.project.v1 import document_service_pb2 as ds
from workspace.storage.v1 import storage_service_pb2 as pb

from services.model.paths import parse_storage_key
from tests.harness import Workspace
from tests.integration.storage.people import ANN, Desk, get, refused, request_id

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def ws(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Workspace]:
    async with Workspace.open(tmp_path_factory.mktemp("names")) as opened:
        await opened.sign_in(ANN)
        yield opened


@pytest_asyncio.fixture(loop_scope="module")
async def desk(ws: Workspace) -> Desk:
    opened = Desk(ws)
    opened.project_id = await opened.new_project()
    return opened


def create(desk: Desk, name: str, folder: str = "") -> Any:
    request = ds.CreateDocumentRequest(
        project_id=desk.project_id, name=name, relative_path=folder, request_id=request_id()
    )
    return desk.documents().CreateDocument(request)


async def there(desk: Desk) -> set[tuple[str, str]]:
    answer = await desk.documents().ListDocuments(
        ds.ListDocumentsRequest(project_id=desk.project_id, page_size=100)
    )
    return {(each.relative_path, each.name) for each in answer.documents}


@pytest.mark.case("K12")
@pytest.mark.parametrize("name", ["café.txt", "Ångström", "が.txt", "한글"])
async def test_composed_and_decomposed_are_one_place(desk: Desk, name: str) -> None:
    composed = unicodedata.normalize("NFC", name)
    decomposed = unicodedata.normalize("NFD", name)
    assert composed != decomposed
    for first, second in ((composed, decomposed), (decomposed, composed)):
        folder = f"{first}-{len(first)}"
        made = (await create(desk, first, folder)).document
        assert made.name == composed
        assert unicodedata.is_normalized("NFC", made.relative_path)
        again = create(desk, second, unicodedata.normalize("NFD", folder))
        assert (await refused(again)).reason == "ALREADY_EXISTS"
    other = (await create(desk, "other.txt", folder)).document
    move = ds.MoveDocumentRequest(document_id=other.document_id, name=decomposed)
    assert (await refused(desk.documents().MoveDocument(move))).reason == "ALREADY_EXISTS"


TWO = [
    ("Foo.txt", "foo.txt"), ("\u017f.txt", "s.txt"), ("straße", "strasse"), ("\u0131", "i"),
    ("İ", "i"), ("Σ", "ς"), ("\u03c3", "Σ"), ("ǆ", "Ǆ"),
]  # fmt: skip


@pytest.mark.case("K13", "K14")
async def test_names_that_fold_to_one_are_two(desk: Desk) -> None:
    """Each keeps its bytes, wherever rows and objects are."""
    made: dict[str, str] = {}
    for number, pair in enumerate(TWO):
        for name in pair:
            document = (await create(desk, name, f"folder{number}")).document
            await desk.uploaded(document.document_id, name.encode(), filename=name)
            made[document.document_id] = name
    assert len(made) == 2 * len(TWO)
    assert await there(desk) == {
        (f"folder{number}", name) for number, pair in enumerate(TWO) for name in pair
    }
    for document_id, name in list(made.items())[:4]:
        request = pb.CreateDownloadRequest(document_id=document_id)
        answer = await get((await desk.storage().CreateDownload(request)).transfer)
        assert answer.content == name.encode()
    kelvin = (await create(desk, "\u212a.txt")).document
    assert kelvin.name == "K.txt", "its form NFC is the letter"
    assert (await refused(create(desk, "K.txt"))).reason == "ALREADY_EXISTS"


PATH = "/".join(["é" * 102] * 5)


@pytest.mark.case("K18", "K24")
@pytest.mark.parametrize(
    ("name", "folder", "more"),
    [
        ("é" * 127, "", ("é" * 128, "")), ("x" * 200, "", ("x" * 201, "")),
        ("n", PATH, ("n", PATH + "x")), ("n", "/".join("a" * 254), ("n", "/".join("a" * 255))),
        ("#%;+&=@", "a#b/c%2fd/e;f", ("a?b", "")),
    ],
    ids=["bytes", "characters", "path", "depth", "marks"],
)  # fmt: skip
async def test_the_longest_names_are_kept_and_one_more_is_refused(
    desk: Desk, name: str, folder: str, more: tuple[str, str]
) -> None:
    document = (await create(desk, name, folder)).document
    await desk.uploaded(document.document_id, b"x", filename=name)
    read = await desk.read(document.document_id)
    assert (read.name, read.relative_path) == (name, folder)
    assert (folder, name) in await there(desk)
    assert len(read.file.storage_key.encode()) <= 1024
    assert (await refused(create(desk, *more))).reason == "INVALID_FIELD"


@pytest.mark.case("K16", "K19", "K21")
@pytest.mark.parametrize(
    ("name", "key"),
    [
        ("NUL.tar.gz", "_NUL.tar.gz"), ("con", "_con"), ("COM¹.txt", "_COM¹.txt"),
        ("CONIN$", "_CONIN$"), (".tmp", "_.tmp"), (".uploads", "_.uploads"),
        (".metadata", "_.metadata"), (".tmp-0123456789abcdef", "_.tmp-0123456789abcdef"),
        ("raw", "raw"), ("derived", "derived"), ("documents", "documents"), ("~x", "_~x"),
    ],
)
async def test_names_that_mean_something_elsewhere_are_data(
    desk: Desk, name: str, key: str
) -> None:
    document = (await create(desk, name)).document
    await desk.uploaded(document.document_id, b"x", filename=name)
    stored = (await desk.read(document.document_id)).file.storage_key
    assert stored.endswith(f"/documents/{document.document_id}/raw/{key}")
    assert parse_storage_key(stored).document_id == document.document_id
    below = create(desk, "x", f"folder/{name}")  # a folder of that name, beside the document
    if name.startswith((".", "~")) or key == name:
        assert (await below).document.relative_path == f"folder/{name}"
    else:
        assert (await refused(below)).reason == "INVALID_FIELD"
