"""The calls of a multipart upload of S3, one function each."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from xml.sax.saxutils import escape

from services.objects.port import PartInfo, StoreUnavailable
from services.objects.s3.digests import base64_of, hex_of
from services.objects.s3.errors import Refused, document, text_of
from services.objects.s3.wire import Call, Wire

__all__ = ["Parts", "Upload"]


@dataclass(frozen=True, slots=True)
class Upload:
    """An upload in parts to a key. `checked`: S3 keeps a SHA-256 of every part."""

    key: str
    upload_id: str
    checked: bool


class Parts:
    """All raise Refused."""

    def __init__(self, wire: Wire) -> None:
        self._wire = wire

    async def begin(
        self, key: str, content_type: str, *, metadata: Mapping[str, str], checked: bool
    ) -> Upload:
        """`metadata` is kept with the object. A lost answer leaves an upload without
        parts; the bucket's lifecycle ends it."""
        headers = {f"x-amz-meta-{name}": value for name, value in metadata.items()}
        if content_type:
            headers["content-type"] = content_type
        if checked:
            headers["x-amz-checksum-algorithm"] = "SHA256"
        call = Call("CreateMultipartUpload", "POST", key, (("uploads", ""),), headers)
        answer = await self._wire.call(call)
        return Upload(key, text_of(document(answer.body), "UploadId"), checked)

    async def put(self, upload: Upload, number: int, data: bytes, digest: str) -> PartInfo:
        """Send a part whose SHA-256 is `digest`; sending it again replaces it."""
        headers = {"x-amz-checksum-sha256": base64_of(digest)}
        call = Call("UploadPart", "PUT", upload.key, _at(upload, number), headers, data, digest)
        answer = await self._wire.call(call)
        return PartInfo(number, len(data), digest, answer.headers.get("etag", ""))

    async def copy(
        self, upload: Upload, number: int, source: Mapping[str, str], first: int, last: int
    ) -> PartInfo:
        """Bytes first..last of another object; `source` are the headers that name it."""
        headers = {**source, "x-amz-copy-source-range": f"bytes={first}-{last}"}
        call = Call(
            "UploadPartCopy", "PUT", upload.key, _at(upload, number), headers, slow=True
        )
        root = document((await self._wire.call(call)).body)
        digest = hex_of(text_of(root, "ChecksumSHA256"))
        return PartInfo(number, last - first + 1, digest, text_of(root, "ETag"))

    async def list(self, upload: Upload) -> Sequence[PartInfo]:
        """What has arrived, by number."""
        found: list[PartInfo] = []
        marker = "0"
        while True:
            query = [
                ("uploadId", upload.upload_id), ("max-parts", "1000"),
                ("part-number-marker", marker),
            ]  # fmt: skip
            answer = await self._wire.call(Call("ListParts", "GET", upload.key, query))
            root = document(answer.body)
            for each in [] if root is None else root.iter("Part"):
                number, size = int(text_of(each, "PartNumber")), int(text_of(each, "Size"))
                found.append(PartInfo(number, size, "", text_of(each, "ETag")))
            if text_of(root, "IsTruncated") != "true" or not found:
                return tuple(found)
            if found[-1].number <= int(marker):
                raise StoreUnavailable("the store lists the same parts again and again")
            marker = str(found[-1].number)

    async def complete(
        self, upload: Upload, parts: Sequence[PartInfo], *, create_only: bool
    ) -> None:
        """Join. S3 refuses parts that are no longer those named."""
        body = _joined(upload, parts)
        headers = {"content-type": "application/xml"}
        if create_only:
            headers["if-none-match"] = "*"
        query = (("uploadId", upload.upload_id),)
        digest = sha256(body).hexdigest()
        await self._wire.call(
            Call(
                "CompleteMultipartUpload", "POST", upload.key, query, headers, body, digest,
                slow=True,
            )
        )

    async def abort(self, upload: Upload) -> None:
        """Drop the parts; an upload that is over already is a success."""
        query = (("uploadId", upload.upload_id),)
        try:
            await self._wire.call(Call("AbortMultipartUpload", "DELETE", upload.key, query))
        except Refused as refused:
            if not refused.absent:
                raise


def _at(upload: Upload, number: int) -> tuple[tuple[str, str], ...]:
    return (("partNumber", str(number)), ("uploadId", upload.upload_id))


def _joined(upload: Upload, parts: Sequence[PartInfo]) -> bytes:
    lines = []
    for part in parts:
        digest = base64_of(part.sha256) if upload.checked and part.sha256 else ""
        checksum = f"<ChecksumSHA256>{digest}</ChecksumSHA256>" if digest else ""
        lines.append(
            f"<Part><PartNumber>{part.number}</PartNumber>"
            f"<ETag>{escape(part.tag)}</ETag>{checksum}</Part>"
        )
    space = "http://s3.amazonaws.com/doc/2006-03-01/"
    text = "".join(lines)
    return f'<CompleteMultipartUpload xmlns="{space}">{text}</CompleteMultipartUpload>'.encode()
