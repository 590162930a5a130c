"""The template sets over HTTP."""

from __future__ import annotations

import pytest

from clipserve.clip.template_sets import TEMPLATE_SETS
from tests.support import Running


async def test_the_list_has_every_set_without_its_class_names(running: Running) -> None:
    answer = await running.client.get("/template-sets")
    assert answer.json() == {
        "template_sets": [
            {
                "name": each.name,
                "templates": list(each.templates),
                "classes": len(each.class_names),
                "source": each.source,
            }
            for each in TEMPLATE_SETS.values()
        ]
    }
    assert len(answer.content) < 20_000


async def test_a_set_by_its_name_has_its_class_names_too(running: Running) -> None:
    listed = (await running.client.get("/template-sets")).json()["template_sets"]
    (sst2,) = (each for each in listed if each["name"] == "rendered-sst2")
    answer = (await running.client.get("/template-sets/rendered-sst2")).json()
    assert answer == sst2 | {"class_names": ["negative", "positive"]}


@pytest.mark.parametrize("name", ["imagenet-8", "Plain", "%00", "a%2Fb", "%ff", "plain%20"])
async def test_a_name_that_does_not_exist_is_a_404_with_a_code_of_its_own(
    running: Running, name: str
) -> None:
    answer = await running.client.get(f"/template-sets/{name}")
    assert answer.status_code == 404
    assert answer.json()["code"] in ("unknown_template_set", "not_found")
