"""`wm login` with a token of an Entra tenant: a `wm serve` configured by its environment."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import pytest

from services.model.ids import user_id
from tests.e2e.serving import ANN
from tests.entra_tenant import CLIENT, OTHER_CLIENT, TENANT, EntraTenant, object_id
from tests.integration.identity.logging_in import LogIn

FORMS: Final[dict[str, tuple[dict[str, Any], dict[str, str]]]] = {
    "workforce": ({}, {}),
    "external": (
        {"external": True, "token_use": "id"},
        {"WM_ENTRA_EXTERNAL": "true", "WM_ENTRA_TOKEN_USE": "id"},
    ),
}


class Deployment(LogIn):
    """The tenant, and a `wm serve` that trusts it."""

    def __init__(self, folder: Path, form: str) -> None:
        trust, variables = FORMS[form]
        self.tenant = EntraTenant(folder, **trust)
        super().__init__(
            folder,
            WM_ENTRA_TENANT_ID=TENANT,
            WM_ENTRA_CLIENT_IDS=f"{OTHER_CLIENT},{CLIENT}",
            WM_ENTRA_ENDPOINT=self.tenant.endpoint,
            WM_OIDC_CA_FILE=str(self.tenant.ca_file),
            **variables,
        )

    def tokens(self, person: str) -> dict[str, str]:
        access, identity = self.tenant.access_token(person), self.tenant.id_token(person)
        return {"access": access, "id": identity}


@pytest.fixture(scope="module", params=FORMS)
def deployment(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Deployment]:
    made = Deployment(tmp_path_factory.mktemp("deployment"), request.param)
    with made.tenant.serving():
        made.serving.start()
        yield made
        made.serving.end(signal.SIGKILL)


def test_who_worked_locally_goes_on_with_entra(deployment: Deployment) -> None:
    trust = deployment.tenant.trusted()
    deployment.json("login", "--as", ANN)
    deployment.json("projects", "create", "Plans")
    token = deployment.tokens("zoe")[trust.token_use]
    signed_in = deployment.json("login", "--token-stdin", token=token)
    subject = f"{TENANT}:{object_id('zoe')}"
    assert signed_in["user_id"] == user_id(trust.identity_issuer, subject)
    address = deployment.json("whoami")["user"].get("email", "")
    assert address == ("zoe@corp.test" if trust.token_use == "id" else "")
    assert deployment.json("link", "--with", ANN)["provider"] == "entra"
    names = [each["name"] for each in deployment.json("projects", "list")["projects"]]
    assert names == ["Plans"]


def test_a_token_of_the_other_kind_is_refused(deployment: Deployment) -> None:
    use = deployment.tenant.trusted().token_use
    (token,) = (text for kind, text in deployment.tokens("zoe").items() if kind != use)
    for bad in (token, deployment.tenant.app_token()):
        code, out, error = deployment.wm("login", "--token-stdin", token=bad)
        assert code == 3
        assert bad not in out + error


def test_an_emulator_and_an_open_port_do_not_go_together(deployment: Deployment) -> None:
    code, error = deployment.serve_to_all(deployment.tenant.ca_file)
    assert code != 0
    assert "WM_ENTRA_ENDPOINT" in error
