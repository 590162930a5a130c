"""The operator gets the rules that Prometheus's own tools test."""

from __future__ import annotations

import yaml

from tests.deploy.prometheus_rule import FILES, OBJECT, as_yaml


def test_the_object_has_the_rules_of_the_files() -> None:
    assert OBJECT.read_text() == as_yaml(), "run: make docs"


def test_no_rule_file_is_forgotten() -> None:
    folder = FILES[0].parent
    with_rules = {
        path for path in folder.glob("*.yml") if "groups" in (yaml.safe_load(path.read_text()) or {})
    }
    assert with_rules <= set(FILES)
