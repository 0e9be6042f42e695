"""The templates of deploy/aws as data, with their intrinsic functions worked out."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).parents[3]
FOLDER = ROOT / "deploy" / "aws"
_NAME = re.compile(r"\$\{([A-Za-z:.]+)\}")
_NOTHING = object()


class _Loader(yaml.SafeLoader):
    """`!Ref x` as {"Ref": x}, `!Sub x` as {"Fn::Sub": x}, ..."""


def _short(loader: Any, suffix: str, node: Any) -> dict[str, Any]:
    name = suffix if suffix in ("Ref", "Condition") else f"Fn::{suffix}"
    if isinstance(node, yaml.ScalarNode):
        return {name: loader.construct_scalar(node)}
    if isinstance(node, yaml.SequenceNode):
        return {name: loader.construct_sequence(node, deep=True)}
    return {name: loader.construct_mapping(node, deep=True)}


_Loader.add_multi_constructor("!", _short)


def template(name: str) -> dict[str, Any]:
    """`baseline` or `runtime`."""
    text = (FOLDER / f"{name}.yaml").read_text(encoding="utf-8")
    loaded: dict[str, Any] = yaml.load(text, Loader=_Loader)
    return loaded


class Resolver:
    """Works out Ref, Fn::Sub, Fn::If, Fn::GetAtt with `values` for parameters, pseudo
    parameters and resources (a resource without a value is its logical name)."""

    def __init__(self, source: Mapping[str, Any], **values: Any) -> None:
        self._source = source
        given = {key: each.get("Default") for key, each in source["Parameters"].items()}
        self._values: dict[str, Any] = {
            "AWS::Partition": "aws", "AWS::Region": "eu-central-1",
            "AWS::AccountId": "123456789012", **given, **values,
        }  # fmt: skip

    def properties(self, resource: str) -> dict[str, Any]:
        found: dict[str, Any] = self.of(self._source["Resources"][resource]["Properties"])
        return found

    def of(self, value: Any) -> Any:
        if isinstance(value, list):
            worked = [self.of(each) for each in value]
            return [each for each in worked if each is not _NOTHING]
        if not isinstance(value, dict):
            return value
        if len(value) == 1 and (name := next(iter(value))) in ("Ref", "Fn::Sub", "Fn::If",
                                                               "Fn::GetAtt"):  # fmt: skip
            return self._function(name, value[name])
        worked = {key: self.of(each) for key, each in value.items()}
        return {key: each for key, each in worked.items() if each is not _NOTHING}

    def _function(self, name: str, argument: Any) -> Any:
        if name == "Ref":
            return _NOTHING if argument == "AWS::NoValue" else self._value(argument)
        if name == "Fn::GetAtt":
            return self._value(argument)
        if name == "Fn::Sub":
            return _NAME.sub(lambda found: str(self._value(found[1])), argument)
        condition, yes, no = argument
        return self.of(yes if self._holds(condition) else no)

    def _value(self, name: str) -> Any:
        return self._values.get(name, name)

    def _holds(self, condition: str) -> bool:
        """Both templates only ask whether a parameter is empty."""
        names = re.findall(r"'Ref': '(\w+)'", repr(self._source["Conditions"][condition]))
        return all(self._value(name) not in ("", [], [""], None) for name in names)
