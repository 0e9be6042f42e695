"""Mail into a folder: `.wm-data/mail/<mail_id>.eml`, for a workspace on a laptop."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

from services.mail.mime import mime_message
from services.mail.port import Mail, MailUnavailable
from services.private_files import install_private, make_folder

__all__ = ["FolderMail"]


class FolderMail:
    """Writes each message durably, mode 0600; the same `mail_id` is written once."""

    name = "folder"

    def __init__(self, folder: Path, *, sender: str, now: Callable[[], float]) -> None:
        self._folder = folder
        self._sender = sender
        self._now = now

    async def send(self, mail: Mail) -> None:
        at = datetime.fromtimestamp(self._now(), UTC)
        data = bytes(mime_message(mail, sender=self._sender, at=at))
        try:
            await asyncio.to_thread(self._write, f"{mail.mail_id}.eml", data)
        except OSError as error:
            text = f"the mail folder cannot be written ({error.strerror})"
            raise MailUnavailable(text) from error

    async def close(self) -> None:
        return

    def _write(self, name: str, data: bytes) -> None:
        make_folder(self._folder)
        install_private(self._folder / name, data)
