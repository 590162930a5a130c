"""The template sets as each API lists them, and whether a request may use them."""

from __future__ import annotations

from pathlib import Path

import pytest

from clipserve.api.limits import RequestLimits
from clipserve.api.requests import ClassifyRequest
from clipserve.application.requests import expanded_templates
from clipserve.clip.artifact import read_manifest
from clipserve.clip.template_sets import TEMPLATE_SETS, template_set
from clipserve.errors import UnknownTemplateSet
from tests.support.service import write_toy_artifact


def test_each_listed_set_is_found_by_its_name() -> None:
    assert [template_set(name) for name in TEMPLATE_SETS] == list(TEMPLATE_SETS.values())


@pytest.mark.parametrize("name", ["", "Plain", "imagenet", "food101 ", "x" * 100_000])
def test_another_name_is_refused_and_told_which_there_are(name: str) -> None:
    with pytest.raises(UnknownTemplateSet, match=r"There are: plain, photo, .*, ucf101\.") as caught:
        template_set(name)
    assert len(caught.value.detail) < 1_000


async def test_one_request_may_use_any_set_with_all_its_class_names(tmp_path: Path) -> None:
    manifest, limits = read_manifest(await write_toy_artifact(tmp_path)), RequestLimits()
    for each in TEMPLATE_SETS.values():
        asked = ClassifyRequest([b"image"], each.class_names or ["a"], [each.name])
        asked.check(limits)
        assert expanded_templates(asked.templates, asked.labels, manifest, limits) == each.templates
