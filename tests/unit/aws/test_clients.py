"""The clients of the SDK: where they go, and that nothing of the SDK repeats calls."""

from __future__ import annotations

import pytest
from botocore.exceptions import ClientError

from services.aws.clients import AwsClients
from services.aws.place import AwsPlace
from services.model.errors import WorkspaceError
from tests.servers import aws
from tests.servers.faulty import Fault, Faulty

pytestmark = pytest.mark.usefixtures("aws_environment")


async def test_a_call_is_tried_once() -> None:
    proxy = Faulty(aws.moto().url, plan=lambda _asked: Fault.BROKEN).start()
    clients = AwsClients(AwsPlace(aws.REGION, endpoint=proxy.url))
    with pytest.raises(ClientError):
        await clients.call("dynamodb", "list_tables")
    assert len(proxy.asked) == 1
    await clients.close()
    proxy.stop()


async def test_only_our_settings_say_where_a_service_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    monkeypatch.setenv("AWS_ENDPOINT_URL_DYNAMODB", "http://127.0.0.1:9")
    clients = AwsClients(AwsPlace("eu-west-1"))
    where = clients.client("dynamodb").meta.endpoint_url
    assert where == "https://dynamodb.eu-west-1.amazonaws.com"
    await clients.close()


async def test_a_profile_that_is_not_there_is_named() -> None:
    clients = AwsClients(AwsPlace("eu-west-1", profile="nobody"))
    with pytest.raises(WorkspaceError, match=r"no profile 'nobody'.*AWS_PROFILE"):
        clients.client("s3")
    await clients.close()


async def test_there_is_one_client_of_a_service() -> None:
    clients = AwsClients(AwsPlace("eu-west-1"))
    assert clients.client("s3") is clients.client("s3")
    assert clients.client("s3", path_style=True) is not clients.client("s3")
    await clients.close()
