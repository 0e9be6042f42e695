"""Key files that are kept in a secret, for deployments without a lasting folder.

`open_keys` fetches them into the keys folder before anything is opened, making them when
the secret has none yet: of replicas that start at once one makes them, all have the same.
`KeysInSecret.run` looks again every two minutes. The secret is the original: a process
never writes one that has a value, `wm keys push` does.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Final

from services.model.errors import Reason, WorkspaceError, invalid_field
from services.objects.keyring import KEY_FILE
from services.secrets.key_files import (
    INSTANCE_KEY_FILE,
    KEY_FILES,
    KeyFiles,
    dump_keys,
    install_keys,
    is_unset,
    load_keys,
    new_keys,
    read_keys,
)
from services.secrets.port import SecretMissing, SecretProblem, SecretStore
from services.secrets.reference import Reference, keys_reference
from services.secrets.resolve import refused_secret, resolve_secrets
from services.secrets.stores import SecretStores, open_stores
from services.settings import Settings

__all__ = ["KeysInSecret", "open_keys", "push_keys", "require_keys", "with_secrets"]

_FIELD: Final = "keys_secret"
_REFRESH_SECONDS: Final = 120.0
_READS: Final = 20
_READ_PAUSE: Final = 0.25
_log = logging.getLogger("workspace.secrets")


async def open_keys(settings: Settings) -> KeysInSecret | None:
    """The keys of the deployment, in the keys folder; None when they are only there.

    Call it before anything reads `keys/`; then run `run` beside the process, and `close`.
    """
    if not settings.keys_secret:
        return None
    stores = open_stores(settings)
    keys = _keys_of(settings, stores)
    try:
        await keys.fetch()
    except BaseException:
        await stores.close()
        raise
    return keys


async def require_keys(settings: Settings) -> None:
    """All key files are there: of several processes none may make its own, or what one
    signs the others refuse. Raises INVALID_STATE naming those that are missing."""
    folder = settings.data_dir / "keys"
    there = await asyncio.to_thread(read_keys, folder)
    missing = [name for name in KEY_FILES if name not in there]
    if missing:
        raise WorkspaceError(
            Reason.ERROR_REASON_INVALID_STATE,
            f"{folder} lacks {', '.join(missing)}: the processes of a deployment share their key "
            "files; mount the same there (`wm keys new` makes them), or name their secret in "
            "WM_KEYS_SECRET",
            metadata={"field": "WM_KEYS_SECRET"},
        )


async def with_secrets(settings: Settings) -> Settings:
    """The settings with their secrets, and the keys folder filled once: for tools that
    work beside the processes."""
    settings = await resolve_secrets(settings)
    if keys := await open_keys(settings):
        await keys.close()
    return settings


async def push_keys(settings: Settings) -> bool:
    """Make the key files of this machine those of the secret: all replicas have them
    within minutes. True when the secret had none before. For `wm keys push`."""
    if not settings.keys_secret:
        raise invalid_field("WM_KEYS_SECRET", "is needed: where the keys are to be kept")
    stores = open_stores(settings)
    try:
        return await _keys_of(settings, stores).push()
    finally:
        await stores.close()


class KeysInSecret:
    """See the module. `folder` is the keys folder, `close_store` ends what `store` is on."""

    def __init__(
        self,
        store: SecretStore,
        reference: Reference,
        *,
        folder: Path,
        close_store: Callable[[], Awaitable[None]] | None = None,
        seconds: float = _REFRESH_SECONDS,
    ) -> None:
        self._store = store
        self._reference = reference
        self._folder = folder
        self._close_store = close_store
        self._seconds = seconds
        self._text = ""

    async def fetch(self) -> None:
        """Install the keys of the secret. Raises INVALID_STATE or BACKEND_UNAVAILABLE
        naming the secret, and the file where the folder has keys of another deployment."""
        try:
            text = await self._read() or await self._make()
            files = load_keys(text)
        except SecretProblem as problem:
            raise refused_secret(_FIELD, self._reference, problem) from None
        await asyncio.to_thread(self._check_ours, files)
        await asyncio.to_thread(install_keys, self._folder, files)
        self._text = text

    async def refresh(self) -> list[str]:
        """Look again; the names of the files that changed. What was rotated here, and not
        in the secret, stays. Raises SecretProblem and WorkspaceError."""
        text = (await self._store.read(self._reference)).text
        if text == self._text:
            return []
        files = load_keys(text)
        await asyncio.to_thread(self._check_ours, files)
        changed = await asyncio.to_thread(install_keys, self._folder, files)
        self._text = text
        return changed

    async def run(self) -> None:
        """Refresh until cancelled. A failure leaves the keys as they are."""
        while True:
            await asyncio.sleep(self._seconds)
            try:
                changed = await self.refresh()
            except SecretProblem as problem:
                _log.warning("the secret %s %s; the keys stay", self._reference, problem)
            except WorkspaceError as error:
                _log.warning("%s; the keys stay", error)
            except Exception as error:
                _log.warning("the keys stay as they are: %s", type(error).__name__)
            else:
                self._tell(changed)

    async def push(self) -> bool:
        """Make the files of the folder the value of the secret; True if it had none."""
        files = await asyncio.to_thread(read_keys, self._folder)
        if not files:
            raise WorkspaceError(
                Reason.ERROR_REASON_INVALID_STATE,
                f"{self._folder} holds no key files; the first `wm serve` makes them",
                metadata={"field": "WM_DATA_DIR"},
            )
        try:
            text, there = dump_keys(files), await self._read()
            if not there and await self._store.create(self._reference, text):
                return True
            await asyncio.to_thread(self._check_ours, load_keys(there or await self._read()))
            await self._store.replace(self._reference, text)
        except SecretProblem as problem:
            raise refused_secret(_FIELD, self._reference, problem) from None
        return False

    async def close(self) -> None:
        if self._close_store is not None:
            await self._close_store()

    async def _read(self) -> str:
        """The text of the secret; '' when it has no keys yet."""
        try:
            text = (await self._store.read(self._reference)).text
        except SecretMissing:
            return ""
        return "" if is_unset(text) else text

    async def _make(self) -> str:
        """Fresh keys, or those that another replica made meanwhile."""
        if await asyncio.to_thread(read_keys, self._folder):
            raise SecretProblem(
                f"is empty, and {self._folder} holds keys: `wm keys push` puts these there"
            )
        made = await asyncio.to_thread(new_keys)
        won = await self._store.create(self._reference, dump_keys(made))
        for _ in range(_READS):  # what was just written may be seen a moment later
            if text := await self._read():
                if won:
                    _log.info("the secret %s has its first keys", self._reference)
                return text
            await asyncio.sleep(_READ_PAUSE)
        raise SecretProblem("stays empty: `wm keys push` gives it keys")

    def _check_ours(self, files: KeyFiles) -> None:
        """The instance key never changes: another one is of another deployment."""
        path = self._folder / INSTANCE_KEY_FILE
        ours = read_keys(self._folder).get(INSTANCE_KEY_FILE)
        if ours not in (None, files[INSTANCE_KEY_FILE]):
            raise WorkspaceError(
                Reason.ERROR_REASON_INVALID_STATE,
                f"WM_KEYS_SECRET: {path} is not the key that the secret {self._reference} holds; "
                "move the folder away to take those of the secret, or name the secret of this "
                "deployment",
                metadata={"field": "WM_KEYS_SECRET", "file": INSTANCE_KEY_FILE},
            )

    def _tell(self, changed: list[str]) -> None:
        if not changed:
            return
        _log.info("key files changed in the secret: %s", ", ".join(changed))
        later = [name for name in changed if name != KEY_FILE]
        if later:
            _log.warning("%s count from the next start", ", ".join(later))


def _keys_of(settings: Settings, stores: SecretStores) -> KeysInSecret:
    reference = keys_reference(settings.keys_secret)
    return KeysInSecret(
        stores.of(reference), reference,
        folder=settings.data_dir / "keys", close_store=stores.close,
    )  # fmt: skip
