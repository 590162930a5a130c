"""Every rule holds in every rendering, and notices the change that breaks it."""

from __future__ import annotations

import copy

import pytest

from tests.deploy.manifests import Object
from tests.deploy.rules import RULES, Rule

by_name = pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.check.__name__)


@by_name
def test_every_rendering_keeps(rule: Rule, objects: dict[str, list[Object]]) -> None:
    wrong = {name: found for name, all_of in objects.items() if (found := [*rule.check(all_of)])}
    assert wrong == {}


@by_name
def test_a_change_that_breaks_it_is_noticed_by(rule: Rule, objects: dict[str, list[Object]]) -> None:
    broken = copy.deepcopy(objects[rule.broken_in])
    rule.breaks(broken)
    assert [*rule.check(broken)] != []
