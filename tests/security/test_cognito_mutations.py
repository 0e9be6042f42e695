"""Every check of a Cognito token is needed: take one away, and a bad token gets through.

The table is made from the sources: each `raise` of a refusal, and each alternative of
the condition in front of one, is taken out of its module in turn. Then at least one bad
token of the lists is no longer refused.
"""

from __future__ import annotations

import ast
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from services.tokens import cognito, compact, oidc, verifier
from services.tokens.claims import TokenRefusedError
from services.tokens.issuers import CognitoSettings
from services.tokens.signature_keys import parse_key_set
from services.tokens.verifier import VerificationKey
from tests.cognito_pool import CLIENT, POOL
from tests.oidc_issuer import RsaKey
from tests.security.cognito_cases import (
    PoolKit,
    access_cases,
    general_cases,
    id_cases,
    pool_kit,
)
from tests.security.test_bad_tokens import NOW, dumps

# In the order in which they import each other.
MODULES: tuple[ModuleType, ...] = (compact, verifier, oidc, cognito)
USES = ("access", "id")


@dataclass(frozen=True)
class Mutant:
    """A module's source without one check."""

    module: str
    name: str
    tree: ast.Module


def mutants() -> Iterator[Mutant]:
    for module in MODULES:
        assert module.__file__
        source = Path(module.__file__).read_text(encoding="utf-8")
        count = sum(1 for _ in edits(ast.parse(source)))
        for number in range(count):
            tree = ast.parse(source)
            name, edit = list(edits(tree))[number]
            edit()
            ast.fix_missing_locations(tree)
            yield Mutant(module.__name__, f"{module.__name__.rpartition('.')[2]}.{name}", tree)


def edits(tree: ast.Module) -> Iterator[tuple[str, Callable[[], None]]]:
    """(name, what takes it out) of each check in a function."""
    for function in ast.walk(tree):
        if not isinstance(function, ast.FunctionDef | ast.AsyncFunctionDef):
            continue
        for number, statement in enumerate(statements(function)):
            body = statement.body if isinstance(statement, ast.If | ast.ExceptHandler) else []
            if not any(is_refusal(each) for each in body):
                continue
            name = f"{function.name}-{number}"
            yield name, lambda body=body: body.__setitem__(slice(None), [ast.Pass()])  # type: ignore[misc]
            for at, operand in enumerate(reasons := alternatives(statement)):
                shown = f"{name} without `{ast.unparse(operand)}`"
                yield shown, lambda at=at, all_=reasons: all_.__setitem__(at, ast.Constant(False))  # type: ignore[misc]


def alternatives(statement: ast.AST) -> list[ast.expr]:
    """The operands of `or`: each is a reason of its own to refuse."""
    test = statement.test if isinstance(statement, ast.If) else None
    return test.values if isinstance(test, ast.BoolOp) and isinstance(test.op, ast.Or) else []


def statements(function: ast.AST) -> Iterator[ast.AST]:
    return (each for each in ast.walk(function) if isinstance(each, ast.If | ast.ExceptHandler))


def is_refusal(statement: ast.stmt) -> bool:
    call = statement.exc if isinstance(statement, ast.Raise) else None
    called = call.func if isinstance(call, ast.Call) else None
    return isinstance(called, ast.Name) and called.id == TokenRefusedError.__name__


MUTANTS = {mutant.name: mutant for mutant in mutants()}

# Second lines of defence: what stays refused without it, and by what.
REDUNDANT: Mapping[str, str] = {
    "compact.parse_json-0 without `data.startswith(b'\\xef\\xbb\\xbf')`": "json does, too",
    "compact.split_token-1 without `not token.isascii()`": "the shape has ASCII letters alone",
    "verifier._check_header-2 without `not _REFUSED_HEADERS.isdisjoint(header)`": "the allow-list",
    "verifier._check_header-3 without `not 0 < len(kid) <= MAX_KID_CHARS`": "no key set has such",
}


class Keys:
    """The keys of the pool, without a server."""

    def __init__(self, key: RsaKey) -> None:
        enc = RsaKey("enc").jwk | {"use": "enc"}
        self._keys = parse_key_set(dumps({"keys": [key.jwk, enc]}), "RS256")

    async def key(self, kid: str) -> VerificationKey | None:
        return self._keys.get(kid)


@dataclass(frozen=True)
class Bench:
    kits: dict[str, PoolKit]
    keys: dict[str, Keys]
    bad: dict[str, list[str]]


@pytest.fixture(scope="module")
def bench() -> Bench:
    found = Bench({}, {}, {})
    for use in USES:
        key = RsaKey("r1")
        kit = found.kits[use] = pool_kit(key, RsaKey("r1"), use=use)
        found.keys[use] = Keys(key)
        named = access_cases(kit) if use == "access" else id_cases(kit)
        bad = [token for _, token in named.values()]
        bad += [each if isinstance(each, str) else each() for each in general_cases(kit).values()]
        found.bad[use] = sorted(bad, key=len)
    return found


@pytest.fixture
def mutated(monkeypatch: pytest.MonkeyPatch) -> Callable[[Mutant | None], ModuleType]:
    """Load the modules anew, one of them changed; gives that of the verifier."""

    def load(mutant: Mutant | None) -> ModuleType:
        made = ModuleType("")
        for original in MODULES:
            name = original.__name__
            made = ModuleType(name)
            made.__file__ = original.__file__
            monkeypatch.setitem(sys.modules, name, made)
            monkeypatch.setattr(sys.modules["services.tokens"], name.rpartition(".")[2], made)
            tree = mutant.tree if mutant and mutant.module == name else parsed(original)
            exec(compile(tree, name, "exec"), made.__dict__)
        return made

    return load


def parsed(module: ModuleType) -> ast.Module:
    assert module.__file__
    return ast.parse(Path(module.__file__).read_text(encoding="utf-8"))


def verifier_of(module: ModuleType, bench: Bench, use: Any) -> Any:
    settings = CognitoSettings(user_pool_id=POOL, client_ids=(CLIENT,), token_use=use)
    return module.cognito_verifier(settings, bench.keys[use], now=lambda: NOW)


async def passes(module: ModuleType, bench: Bench) -> bool:
    """Whether any bad token is not refused; that it breaks the verifier counts."""
    for use in USES:
        judge = verifier_of(module, bench, use)
        for token in bench.bad[use]:
            try:
                await judge.verify(token)
            except TokenRefusedError:
                continue
            except Exception:
                return True
            return True
    return False


async def test_without_a_change_every_bad_token_is_refused(
    bench: Bench, mutated: Callable[[Mutant | None], ModuleType]
) -> None:
    module = mutated(None)
    assert not await passes(module, bench)
    for use in USES:
        assert await verifier_of(module, bench, use).verify(bench.kits[use].token())


@pytest.mark.parametrize("name", sorted(MUTANTS))
async def test_without_a_check_a_bad_token_gets_through(
    name: str, bench: Bench, mutated: Callable[[Mutant | None], ModuleType]
) -> None:
    module = mutated(MUTANTS[name])
    assert await passes(module, bench) is (name not in REDUNDANT)


def test_the_table_holds_what_makes_a_cognito_token() -> None:
    assert {name for name in MUTANTS if name.startswith("cognito.")} >= {
        "cognito.__call__-0", "cognito._check_person-0",
        "cognito._check_person-0 without `not self._username(payload)`",
    }
    assert set(REDUNDANT) <= set(MUTANTS)
