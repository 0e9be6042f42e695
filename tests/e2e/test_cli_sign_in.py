"""`wm` with a remote sign-in provider, linked identities and machine tokens."""

from __future__ import annotations

import json
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.serving import ANN, MINUTE, Serving
from tests.oidc_issuer import HttpsIssuer, RsaKey

AUDIENCE = "workspace-test"


class Provider:
    """A real HTTPS issuer, and a `wm serve` that trusts it by its environment."""

    def __init__(self, folder: Path) -> None:
        self.issuer, self.key = HttpsIssuer(folder), RsaKey("r1")
        self.issuer.keys = [self.key.jwk]
        self.serving = Serving(folder)
        self.serving.env |= {
            "WM_OIDC_ISSUER": self.issuer.url,
            "WM_OIDC_AUDIENCE": AUDIENCE,
            "WM_OIDC_CA_FILE": str(self.issuer.ca_file),
        }

    def token(self, subject: str = "zoe", **claims: Any) -> str:
        now = int(time.time())
        given = {
            "iss": self.issuer.url, "aud": AUDIENCE, "sub": subject, "iat": now, "exp": now + 600,
            "email": f"{subject}@corp.test", "email_verified": True,
        }
        return self.key.sign({"alg": "RS256", "typ": "JWT", "kid": "r1"}, given | claims)

    def wm(self, *arguments: object, token: str = "", **env: str) -> tuple[int, str, str]:
        done = subprocess.run(
            self.serving.command(*arguments), env=self.serving.env | env, cwd=self.serving.folder,
            input=token, capture_output=True, text=True, timeout=MINUTE, check=False,
        )
        assert "Traceback" not in done.stderr
        return done.returncode, done.stdout, done.stderr

    def json(self, *arguments: object, token: str = "", **env: str) -> Any:
        code, out, error = self.wm(*arguments, "--json", token=token, **env)
        assert code == 0, (arguments, out, error)
        return json.loads(out)


@pytest.fixture(scope="module")
def provider(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Provider]:
    made = Provider(tmp_path_factory.mktemp("provider"))
    with made.issuer.serving():
        made.serving.start()
        yield made
        made.serving.end(signal.SIGKILL)


def test_who_worked_locally_goes_on_with_the_provider(provider: Provider, tmp_path: Path) -> None:
    provider.json("login", "--as", ANN)
    provider.json("projects", "create", "Plans")
    token = provider.token()
    assert provider.json("login", "--token-stdin", token=token)["email"] == "zoe@corp.test"
    assert provider.json("whoami")["user"]["email"] == "zoe@corp.test"
    linked = provider.json("link", "--with", ANN)
    assert linked["provider"] == "oidc"
    names = [each["name"] for each in provider.json("projects", "list")["projects"]]
    assert names == ["Plans"]
    assert len(provider.json("link", "--list", "--as", ANN)["identity_links"]) == 2

    file = tmp_path / "token"
    file.write_text(token + "\n")
    removed = provider.json(
        "link", "--as", ANN, "--remove", linked["link_id"], "--token-file", file,
    )
    assert removed["unlinked"]
    kept = (provider.serving.folder / "config" / "credentials.json").stat()
    assert kept.st_mode & 0o077 == 0


def test_machine_tokens_from_creation_to_revocation(provider: Provider) -> None:
    provider.json("login", "--as", ANN)
    provider.json("projects", "create", "Open")
    provider.json("projects", "create", "Shut")
    made = provider.json(
        "tokens", "create", "nightly", "-p", "view", "--project", "Open", "--expires", "7d"
    )
    secret = made["secret"]
    listed = provider.json("tokens", "list")["machine_tokens"]
    assert [each["name"] for each in listed] == ["nightly"]
    assert secret not in json.dumps(listed)

    seen = provider.json("projects", "list", WM_TOKEN=secret)["projects"]
    assert [each["name"] for each in seen] == ["Open"]
    code, _, _ = provider.wm("projects", "create", "More", WM_TOKEN=secret)
    assert code == 4
    code, _, _ = provider.wm("tokens", "create", "more", WM_TOKEN=secret)
    assert code == 4

    provider.json("login", "--token-stdin", token=secret)
    assert [each["name"] for each in provider.json("projects", "list")["projects"]] == ["Open"]
    assert len(provider.json("projects", "list", "--as", ANN)["projects"]) >= 2

    assert provider.json("tokens", "revoke", "nightly", "--as", ANN)
    code, _, error = provider.wm("projects", "list", WM_TOKEN=secret)
    assert (code, secret in error) == (3, False)


@pytest.mark.parametrize(
    ("arguments", "token", "code"),
    [
        (["login", "--token-stdin"], "", 2),
        (["login", "--token-stdin"], "two words", 2),
        (["login", "--token-stdin", "--name", "Zoe"], "x.y.z", 2),
        (["login", "--token-stdin", "--token-file", "x"], "x.y.z", 2),
        (["login", "--token-file", "missing"], "", 2),
        (["login", "--token-stdin"], "x.y.z", 3),
        (["login", "--token-stdin"], "wmt_" + "a" * 110, 3),
        (["link"], "", 2),
        (["link", "--list", "--token-stdin"], "x.y.z", 2),
    ],
)
def test_what_is_wrong_is_said_without_the_token(
    arguments: list[str], token: str, code: int, provider: Provider
) -> None:
    found, out, error = provider.wm(*arguments, token=token)
    assert found == code, (out, error)
    assert not token or token not in out + error


def test_an_empty_audience_stops_the_start(provider: Provider) -> None:
    code, _, error = provider.wm("serve", "--grpc-port", "0", "--http-port", "0",
                                 WM_OIDC_AUDIENCE="")
    assert code != 0
    assert "WM_OIDC_AUDIENCE" in error
