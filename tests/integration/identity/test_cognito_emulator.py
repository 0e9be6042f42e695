"""Sign-in with the tokens that an independent implementation of Cognito makes."""

from __future__ import annotations

import secrets
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from workspace.identity.v1 import identity_service_pb2 as ids
from workspace.identity.v1.identity_service_pb2_grpc import IdentityServiceStub

from services.aws.clients import AwsClients
from services.rpc.local import LocalChannel
from services.tokens.issuers import CognitoSettings
from tests.harness import BearerChannel, Workspace
from tests.integration.identity.people import refused
from tests.servers.aws import clients_of, moto


@dataclass(frozen=True)
class SignedIn:
    """A person of a pool of the emulator, and what the pool gave him."""

    pool: str
    client: str
    subject: str
    tokens: dict[str, str]


async def sign_up(clients: AwsClients) -> SignedIn:
    async def call(operation: str, **given: Any) -> Any:
        return await clients.call("cognito-idp", operation, **given)

    password = secrets.token_urlsafe(16) + "aA1!"
    made = await call("create_user_pool", PoolName="people")
    pool = made["UserPool"]["Id"]
    made = await call("create_user_pool_client", UserPoolId=pool, ClientName="workspace")
    client = made["UserPoolClient"]["ClientId"]
    attributes = [{"Name": "email", "Value": "zoe@corp.test"}]
    attributes += [{"Name": "email_verified", "Value": "true"}]
    user = {"UserPoolId": pool, "Username": "zoe"}
    made = await call("admin_create_user", **user, UserAttributes=attributes)
    subject = next(each["Value"] for each in made["User"]["Attributes"] if each["Name"] == "sub")
    await call("admin_set_user_password", **user, Password=password, Permanent=True)
    await call("create_group", UserPoolId=pool, GroupName="admin")
    await call("admin_add_user_to_group", **user, GroupName="admin")
    answer = await call(
        "admin_initiate_auth", UserPoolId=pool, ClientId=client, AuthFlow="ADMIN_NO_SRP_AUTH",
        AuthParameters={"USERNAME": "zoe", "PASSWORD": password},
    )
    return SignedIn(pool, client, subject, answer["AuthenticationResult"])


@pytest.fixture
async def zoe(aws_environment: None) -> AsyncIterator[SignedIn]:
    clients = clients_of(moto())
    try:
        yield await sign_up(clients)
    finally:
        await clients.close()


@pytest.mark.parametrize(("use", "taken"), [("access", "AccessToken"), ("id", "IdToken")])
async def test_a_person_of_an_emulated_pool_signs_in(
    use: Any, taken: str, zoe: SignedIn, tmp_path: Path
) -> None:
    trusted = CognitoSettings(user_pool_id=zoe.pool, client_ids=(zoe.client,), token_use=use)
    endpoint = moto().url.removesuffix("/moto-api/")
    async with Workspace.open(
        tmp_path, oidc_issuers=(trusted,), cognito_endpoint=endpoint
    ) as ws:

        def stub(token: str) -> Any:
            return IdentityServiceStub(
                BearerChannel(LocalChannel(ws.process.local, service=""), zoe.tokens[token])
            )

        answer = await stub(taken).NormalizeIdentity(ids.NormalizeIdentityRequest())
        assert (answer.user.issuer, answer.user.subject) == (trusted.issuer, zoe.subject)
        assert list(answer.user.deployment_claims) == ["admin"]
        session = await stub(taken).GetSession(ids.GetSessionRequest())
        assert not session.session.is_platform_admin
        for other in {"AccessToken", "IdToken", "RefreshToken"} - {taken}:
            with refused("UNAUTHENTICATED"):
                await stub(other).GetSession(ids.GetSessionRequest())
