"""`wm login` with a token of a user pool: a `wm serve` configured by its environment."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from services.model.ids import user_id
from tests.cognito_pool import CLIENT, OTHER_CLIENT, POOL, CognitoPool
from tests.e2e.serving import ANN
from tests.integration.identity.logging_in import LogIn


class Deployment(LogIn):
    """The pool, and a `wm serve` that trusts it."""

    def __init__(self, folder: Path, use: str) -> None:
        self.pool, self.use = CognitoPool(folder), use
        taken = {} if use == "access" else {"WM_COGNITO_TOKEN_USE": use}
        super().__init__(
            folder,
            WM_COGNITO_USER_POOL_ID=POOL,
            WM_COGNITO_CLIENT_IDS=f"{OTHER_CLIENT},{CLIENT}",
            WM_COGNITO_ENDPOINT=self.pool.endpoint,
            WM_OIDC_CA_FILE=str(self.pool.ca_file),
            **taken,
        )

    def tokens(self, subject: str) -> dict[str, str]:
        access, identity = self.pool.access_token(subject), self.pool.id_token(subject)
        return {"access": access, "id": identity}


@pytest.fixture(scope="module", params=["access", "id"])
def deployment(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Deployment]:
    made = Deployment(tmp_path_factory.mktemp("deployment"), request.param)
    with made.pool.serving():
        made.serving.start()
        yield made
        made.serving.end(signal.SIGKILL)


def test_who_worked_locally_goes_on_with_cognito(deployment: Deployment) -> None:
    deployment.json("login", "--as", ANN)
    deployment.json("projects", "create", "Plans")
    token = deployment.tokens("zoe")[deployment.use]
    signed_in = deployment.json("login", "--token-stdin", token=token)
    assert signed_in["user_id"] == user_id(deployment.pool.issuer, "zoe")
    address = deployment.json("whoami")["user"].get("email", "")
    assert address == ("zoe@corp.test" if deployment.use == "id" else "")
    assert deployment.json("link", "--with", ANN)["provider"] == "cognito"
    names = [each["name"] for each in deployment.json("projects", "list")["projects"]]
    assert names == ["Plans"]


def test_a_token_of_the_other_kind_is_refused(deployment: Deployment) -> None:
    (token,) = (text for use, text in deployment.tokens("zoe").items() if use != deployment.use)
    code, out, error = deployment.wm("login", "--token-stdin", token=token)
    assert code == 3
    assert token not in out + error


def test_an_emulator_and_an_open_port_do_not_go_together(deployment: Deployment) -> None:
    code, error = deployment.serve_to_all(deployment.pool.ca_file)
    assert code != 0
    assert "WM_COGNITO_ENDPOINT" in error
