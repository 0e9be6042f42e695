"""Tools that work beside the processes: they take secrets from where these do."""

from __future__ import annotations

from pathlib import Path

from services.secrets.keys import open_keys, with_secrets
from tests.unit.secrets.conftest import MakeSettings


async def test_a_backup_has_the_keys_of_the_replicas_and_makes_none(
    make_settings: MakeSettings, name: str, tmp_path: Path
) -> None:
    secret = f"secretsmanager:{name}"
    first = make_settings(keys_secret=secret, data_dir=tmp_path / "replica")
    keys = await open_keys(first)
    assert keys is not None
    await keys.close()
    beside = make_settings(keys_secret=secret, data_dir=tmp_path / "beside")
    assert await with_secrets(beside) == beside
    files = sorted(path.name for path in (tmp_path / "replica" / "keys").iterdir())
    assert files
    for file in files:
        one, other = (tmp_path / place / "keys" / file for place in ("replica", "beside"))
        assert one.read_bytes() == other.read_bytes()


async def test_without_references_nothing_is_asked(make_settings: MakeSettings) -> None:
    settings = make_settings()
    assert await with_secrets(settings) == settings
