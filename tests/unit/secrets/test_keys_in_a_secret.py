"""Key files in a secret: fetched, made once, followed, pushed, never mixed up."""

from __future__ import annotations

import asyncio
import base64
import json
import stat
from collections.abc import Callable
from pathlib import Path

import pytest

from services.aws.clients import AwsClients
from services.model.errors import WorkspaceError
from services.objects.keyring import KEY_FILE, Keyring, Purpose
from services.secrets.aws_parameter_store import ParameterStore
from services.secrets.aws_secrets_manager import SecretsManager
from services.secrets.key_files import KEY_FILES, dump_keys, new_keys, read_keys
from services.secrets.keys import KeysInSecret, open_keys, push_keys
from services.secrets.port import SecretStore, SecretValue
from services.secrets.reference import Reference, parse_reference
from tests.aws_faults import Answers
from tests.unit.secrets.conftest import MakeSettings


@pytest.fixture(params=["secretsmanager", "ssm"])
def reference(request: pytest.FixtureRequest, name: str) -> str:
    return f"ssm:/{name}" if request.param == "ssm" else f"secretsmanager:{name}"


def store_of(clients: AwsClients, reference: str) -> SecretStore:
    is_parameter = reference.startswith("ssm:")
    return ParameterStore(clients) if is_parameter else SecretsManager(clients)


def parsed(reference: str) -> Reference:
    found = parse_reference(reference)
    assert found is not None
    return found


def keys(store: SecretStore, reference: str, folder: Path) -> KeysInSecret:
    return KeysInSecret(store, parsed(reference), folder=folder)


async def test_the_first_start_makes_them_and_the_next_takes_them(
    make_settings: MakeSettings, reference: str, tmp_path: Path
) -> None:
    folders = []
    for number in range(2):
        settings = make_settings(keys_secret=reference, data_dir=tmp_path / str(number))
        opened = await open_keys(settings)
        assert opened is not None
        await opened.close()
        folders.append(read_keys(settings.data_dir / "keys"))
        for path in (settings.data_dir / "keys").iterdir():
            assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert sorted(folders[0]) == sorted(KEY_FILES)
    assert folders[0] == folders[1]


async def test_without_the_setting_there_is_nothing_to_do(make_settings: MakeSettings) -> None:
    assert await open_keys(make_settings()) is None


class Together:
    """A store in which nobody goes on before all have read, and then one by one."""

    def __init__(self, store: SecretStore, barrier: asyncio.Barrier, turn: asyncio.Lock) -> None:
        self._store = store
        self._barrier = barrier
        self._turn = turn
        self._first = True
        self.created: list[bool] = []

    async def read(self, reference: Reference) -> SecretValue:
        try:
            return await self._store.read(reference)
        finally:
            if self._first:
                self._first = False
                await self._barrier.wait()

    async def create(self, reference: Reference, text: str) -> bool:
        async with self._turn:
            self.created.append(await self._store.create(reference, text))
            return self.created[-1]

    async def replace(self, reference: Reference, text: str) -> None:
        await self._store.replace(reference, text)


@pytest.mark.parametrize("made_by_a_template", [False, True])
async def test_replicas_that_start_at_once_have_the_same_keys(
    clients: AwsClients, reference: str, tmp_path: Path, made_by_a_template: bool
) -> None:
    if made_by_a_template and reference.startswith("secretsmanager:"):
        await clients.call("secretsmanager", "create_secret", Name=parsed(reference).name)
    barrier, turn = asyncio.Barrier(3), asyncio.Lock()
    stores = [Together(store_of(clients, reference), barrier, turn) for _ in range(3)]
    replicas = [
        keys(store, reference, tmp_path / str(number)) for number, store in enumerate(stores)
    ]
    await asyncio.gather(*(each.fetch() for each in replicas))
    assert sorted(won for store in stores for won in store.created) == [False, False, True]
    found = [read_keys(tmp_path / str(number)) for number in range(3)]
    assert found[0] == found[1] == found[2]
    assert len(found[0]) == len(KEY_FILES)


async def test_a_placeholder_of_a_template_counts_as_none(
    clients: AwsClients, name: str, tmp_path: Path
) -> None:
    await clients.call("secretsmanager", "create_secret", Name=name, SecretString="{}")
    await keys(SecretsManager(clients), f"secretsmanager:{name}", tmp_path / "keys").fetch()
    assert len(read_keys(tmp_path / "keys")) == len(KEY_FILES)


async def test_a_rotation_in_the_secret_is_followed(
    clients: AwsClients, reference: str, tmp_path: Path
) -> None:
    store = store_of(clients, reference)
    one, two = (keys(store, reference, tmp_path / each) for each in ("one", "two"))
    await one.fetch()
    await two.fetch()
    keyring = Keyring.open(tmp_path / "two", create=False)
    kid = Keyring.open(tmp_path / "one", create=False).rotate(Purpose.DOWNLOAD)
    assert await one.refresh() == []  # what was rotated here is not undone
    assert Keyring.open(tmp_path / "one").current(Purpose.DOWNLOAD).kid == kid
    assert await one.push() is False
    assert await two.refresh() == [KEY_FILE]
    assert Keyring.open(tmp_path / "two").current(Purpose.DOWNLOAD).kid == kid
    while keyring.find(Purpose.DOWNLOAD, kid) is None:  # noqa: ASYNC110 - it looks each second
        await asyncio.sleep(0.05)
    assert await two.refresh() == []


async def test_following_goes_on_after_a_failure(
    clients: AwsClients, name: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    reference = f"secretsmanager:{name}"
    first = keys(SecretsManager(clients), reference, tmp_path / "one")
    await first.fetch()
    two = KeysInSecret(
        SecretsManager(clients), parsed(reference), folder=tmp_path / "two", seconds=0.01
    )
    await two.fetch()
    Answers(clients, "secretsmanager", "GetSecretValue").faults = [
        (400, "AccessDeniedException", ""), (400, "ResourceNotFoundException", ""),
    ]  # fmt: skip
    task = asyncio.ensure_future(two.run())
    kid = Keyring.open(tmp_path / "one", create=False).rotate(Purpose.UPLOAD)
    while "does not exist" not in caplog.text:  # noqa: ASYNC110
        await asyncio.sleep(0.01)
    await first.push()
    while Keyring.open(tmp_path / "two").current(Purpose.UPLOAD).kid != kid:  # noqa: ASYNC110
        await asyncio.sleep(0.01)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    assert "secretsmanager:GetSecretValue" in caplog.text


async def test_push_puts_the_keys_of_a_workspace_there(
    make_settings: MakeSettings, reference: str, tmp_path: Path
) -> None:
    settings = make_settings(keys_secret=reference)
    with pytest.raises(WorkspaceError, match="no key files"):
        await push_keys(settings)
    folder = settings.data_dir / "keys"
    folder.mkdir(parents=True)
    for file, data in new_keys().items():
        (folder / file).write_bytes(data)
        (folder / file).chmod(0o600)
    with pytest.raises(WorkspaceError, match="wm keys push"):
        await open_keys(settings)  # it has keys, and the secret has none: nothing is guessed
    assert await push_keys(settings) is True
    assert await push_keys(settings) is False
    other = make_settings(keys_secret=reference, data_dir=tmp_path / "other")
    opened = await open_keys(other)
    assert opened is not None
    await opened.close()
    assert read_keys(other.data_dir / "keys") == read_keys(folder)


async def test_keys_of_another_deployment_are_never_replaced(
    clients: AwsClients, reference: str, tmp_path: Path
) -> None:
    store = store_of(clients, reference)
    await keys(store, reference, tmp_path / "one").fetch()
    strange = tmp_path / "two"
    strange.mkdir()
    for file, data in new_keys().items():
        (strange / file).write_bytes(data)
        (strange / file).chmod(0o600)
    before = read_keys(strange)
    value = (await store.read(parsed(reference))).text
    for attempt in (keys(store, reference, strange).fetch, keys(store, reference, strange).push):
        with pytest.raises(WorkspaceError, match=r"instance\.key"):
            await attempt()
    assert read_keys(strange) == before
    assert (await store.read(parsed(reference))).text == value


def _lacking(text: str) -> str:
    document = json.loads(text)
    del document[KEY_FILE]
    return json.dumps(document)


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (lambda text: "s3cret", "holds no key files"),
        (lambda text: '["s3cret"]', "lacks instance.key"),
        (lambda text: text.replace('": "', '": "!'), "holds no key files"),
        (lambda text: text.replace('": "', '": ["').replace('",', '"],'), "holds no key files"),
        (_lacking, f"lacks {KEY_FILE}"),
    ],
)
async def test_a_damaged_secret_stops_the_start_and_is_not_shown(
    clients: AwsClients, name: str, tmp_path: Path, damage: Callable[[str], str], said: str
) -> None:
    text = damage(dump_keys(await asyncio.to_thread(new_keys)))
    await clients.call("secretsmanager", "create_secret", Name=name, SecretString=text)
    with pytest.raises(WorkspaceError) as caught:
        await keys(SecretsManager(clients), f"secretsmanager:{name}", tmp_path / "keys").fetch()
    assert said in caught.value.message
    assert "s3cret" not in caught.value.message
    assert not (tmp_path / "keys").exists()


async def test_names_that_are_no_key_files_are_not_written(
    clients: AwsClients, name: str, tmp_path: Path
) -> None:
    document = json.loads(dump_keys(await asyncio.to_thread(new_keys)))
    document |= {"../evil": base64.b64encode(b"x").decode(), "other.txt": "eA=="}
    text = json.dumps(document)
    await clients.call("secretsmanager", "create_secret", Name=name, SecretString=text)
    await keys(SecretsManager(clients), f"secretsmanager:{name}", tmp_path / "keys").fetch()
    assert {path.name for path in (tmp_path / "keys").iterdir()} == set(KEY_FILES)
    assert not (tmp_path / "evil").exists()


async def test_who_may_not_write_is_told_the_action(
    clients: AwsClients, name: str, tmp_path: Path
) -> None:
    Answers(clients, "secretsmanager", "PutSecretValue").always = (
        400, "AccessDeniedException", "",
    )  # fmt: skip
    with pytest.raises(WorkspaceError) as caught:
        await keys(SecretsManager(clients), f"secretsmanager:{name}", tmp_path / "keys").fetch()
    assert caught.value.metadata["action"] == "secretsmanager:PutSecretValue"
    assert "WM_KEYS_SECRET" in caught.value.message


async def test_an_answer_that_was_lost_makes_no_other_keys(
    clients: AwsClients, reference: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The value was written, the answer never came: the repeat finds its own."""
    monkeypatch.setattr("services.secrets.trying._PAUSE", 0.001)
    lost = {"left": 1}

    def lose(http_response: object, **_: object) -> None:
        if lost["left"]:
            lost["left"] = 0
            raise ConnectionError("the answer is lost")

    service, operation = (
        ("ssm", "PutParameter") if reference.startswith("ssm:") else
        ("secretsmanager", "CreateSecret")
    )  # fmt: skip
    clients.client(service).meta.events.register(f"after-call.{service}.{operation}", lose)
    await keys(store_of(clients, reference), reference, tmp_path / "one").fetch()
    await keys(store_of(clients, reference), reference, tmp_path / "two").fetch()
    assert lost["left"] == 0
    assert read_keys(tmp_path / "one") == read_keys(tmp_path / "two")
