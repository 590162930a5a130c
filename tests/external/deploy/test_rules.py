"""Each rule finds what it is about: a sound build with one thing broken, as broken.yaml lists them."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.deploy.builds import BUILDS
from tests.deploy.manifests import Object, title
from tests.deploy.rulebook import RULES

CASES: dict[str, list[list[Any]]] = yaml.safe_load(Path(__file__).with_name("broken.yaml").read_text())
RULE_OF = {rule.__name__: rule for rule in RULES}
# Beginnings of fields, for short.
_PREFIXES = {"pod": ["spec", "template", "spec"], "first": ["spec", "template", "spec", "containers", "0"]}


@pytest.mark.parametrize(("rule", "case"), [(rule, case) for rule, cases in CASES.items() for case in cases])
def test_a_rule_finds_what_is_broken(rule: str, case: list[Any], objects: dict[str, list[Object]]) -> None:
    build, *change = case
    assert list(RULE_OF[rule](broken(objects[build], *change)))


@pytest.mark.parametrize("build", BUILDS)
def test_a_build_keeps_every_rule(build: str, objects: dict[str, list[Object]]) -> None:
    found = {rule.__name__: list(rule(objects[build])) for rule in RULES}
    assert not {rule: sentences for rule, sentences in found.items() if sentences}


def test_every_rule_is_broken_once() -> None:
    assert CASES.keys() == RULE_OF.keys()


def broken(sound: list[Object], name: str, field: str, *value: Any) -> list[Object]:
    """A copy in which one field of one object has another value; without one, the field is gone."""
    objects = copy.deepcopy(sound)
    (place,) = (each for each in objects if title(each) == name or _begins(title(each), name))
    first, *rest = field.split()
    *steps, last = [*_PREFIXES.get(first, [first]), *rest]
    where: Any = place
    for step in steps:
        where = where[int(step) if isinstance(where, list) else step]
    key = int(last) if isinstance(where, list) else last
    if value:
        where[key] = value[0]
    else:
        del where[key]
    return objects


def _begins(name: str, pattern: str) -> bool:
    return pattern.endswith("*") and name.startswith(pattern[:-1])
