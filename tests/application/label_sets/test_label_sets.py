"""Label sets at one gateway: what they score, what a version is, what a put costs, and how they are built."""

from __future__ import annotations

import asyncio
import time
from typing import Any

import numpy as np
import pytest

from clipserve.api.answers import Classification, ImageLabelSets
from clipserve.api.requests import ClassifyRequest, EmbedRequest
from clipserve.application.label_sets import build, service
from clipserve.application.label_sets.definition import Definition
from clipserve.errors import (
    BackendUnavailable,
    ClipError,
    InvalidInput,
    LabelSetNotReady,
    RateLimited,
    StoreUnavailable,
    TooMany,
    UnknownLabelSet,
)
from clipserve.telemetry.request import RequestContext, current, enter
from tests.application.label_sets.conftest import OpenSite
from tests.application.label_sets.making import Counted, Site
from tests.support.service import png
from tests.support.waiting import until

DEFINITION: dict[str, Any] = {
    "labels": [
        "cat",
        {"label": "dog", "id": "7", "prompts": ["a {} dog", "wolf"]},
        {"label": "cow", "threshold": 0.9},
    ],
    "templates": ["a {}", "the {}"],
    "background": ["tree"],
}


async def classified(site: Site, *names: str, **options: Any) -> Classification:
    request = ClassifyRequest([png()], label_sets=names, **options)
    return await site.inference.classify(request.check(site.inference.limits))


async def version_at(site: Site, name: str = "pets") -> str | None:
    """None: it is not served."""
    enter(RequestContext("a", time.monotonic() + 60))
    try:
        return (await classified(site, name)).label_sets[0].version
    except (UnknownLabelSet, LabelSetNotReady, StoreUnavailable):
        return None
    finally:
        enter(None)


def rows(result: Any) -> list[tuple[Any, ...]]:
    assert not isinstance(result, ClipError)
    return [(each.label, each.score, each.cosine, each.logit) for each in result.labels]


async def vectors(site: Site, images: list[bytes], texts: list[str]) -> list[Any]:
    embedded = await site.inference.embed(EmbedRequest(images, texts))
    return [each.embedding for each in embedded.results if not isinstance(each, ClipError)]


async def test_a_set_scores_as_its_labels_and_templates_or_its_own_prompts_in_a_request(
    open_site: OpenSite,
) -> None:
    site = await open_site()
    own = {"label": "dog", "prompts": ["a dog", "the {}"]}
    await site.put(labels=["cat", own, "cow"], templates=["a {}", "the {}"], background=["tree"])
    request = ClassifyRequest([png()], ["cat", "dog", "cow"], ["a {}", "the {}"], ["tree"])
    said = await site.inference.classify(request)
    assert rows((await classified(site, "pets")).results[0]) == rows(said.results[0])
    await site.put(labels=["cat", own | {"prompts": ["wolf"]}, "cow"], templates=["a {}", "the {}"])
    assert rows((await classified(site, "pets")).results[0]) != rows(said.results[0])


async def test_examples_count_by_their_weight(open_site: OpenSite) -> None:
    site = await open_site()
    labels = [{"label": "a", "examples": [png(), png(1)]}, {"label": "b", "examples": [png(2), png(2)]}]
    own, other, text = await vectors(site, [png(), png(1)], ["a"])
    for weight in (0.0, 0.25, 1.0):
        await site.put(labels=labels, example_weight=weight, templates=["{}"])
        joined = (1 - weight) * text + weight * (own + other) / np.linalg.norm(own + other)
        (cosine,) = [row[2] for row in rows((await classified(site, "pets")).results[0]) if row[0] == "a"]
        assert cosine == pytest.approx(own @ joined / np.linalg.norm(joined), abs=1e-5)


async def test_an_image_is_encoded_once_for_several_sets_and_no_text(open_site: OpenSite) -> None:
    site = await open_site(backend=(backend := Counted()))
    await site.put("pets", labels=["cat", "dog"])
    await site.put("moods", labels=["glad", "sad", "odd"])
    backend.texts = 0
    answer = await classified(site, "moods", "pets")
    assert (backend.texts, backend.images) == (0, 1)
    assert [each.name for each in answer.label_sets] == ["moods", "pets"]
    (result,) = answer.results
    assert isinstance(result, ImageLabelSets)
    assert [len(each.labels) for each in result.label_sets] == [3, 2]


async def test_a_version_changes_with_all_that_decides_scores_and_with_nothing_else(
    open_site: OpenSite,
) -> None:
    site = await open_site()
    first = await site.put(**DEFINITION)
    changes: list[dict[str, Any]] = [
        {"labels": [*DEFINITION["labels"], "pig"]},
        {"labels": ["cat", *DEFINITION["labels"][1:2], "cow"]},
        {"templates": ["a {}"]},
        {"background": []},
        {"scoring": "sigmoid"},
        {"temperature": 2.0},
        {"threshold": 0.5},
        {"truncate": True},
    ]
    versions = {(await site.put(**DEFINITION | change)).version for change in changes}
    assert len(versions) == len(changes)
    assert first.version not in versions
    named = DEFINITION | {"templates": ["a {label}", "the {label}"]}
    assert (await site.put("other", **named)).version == first.version, "as another slot is written"
    stored = Definition(model="toy", labels=[], templates=["{}"], expect_fingerprint="toy@1")
    assert stored.digest == "3213aeb88482d98fd36278aae8f8ad87", "nor with a release"


async def test_the_options_of_a_request_come_before_those_of_the_set(open_site: OpenSite) -> None:
    site = await open_site()
    await site.put(labels=["cat", {"label": "dog", "threshold": 1.0}, "cow"], temperature=50.0)
    names = [row[0] for row in rows((await classified(site, "pets")).results[0])]
    assert sorted(names) == ["cat", "cow"]
    everything = rows((await classified(site, "pets", threshold=0.0, temperature=0.01)).results[0])
    assert len(everything) == 3
    assert everything[0][1] > 0.99
    assert len(rows((await classified(site, "pets", threshold=-1.0, top_k=1)).results[0])) == 1
    cosines = rows((await classified(site, "pets", threshold=-1.0, scoring="cosine")).results[0])
    assert all(row[1] == row[2] for row in cosines)


async def test_a_request_may_name_the_model_of_its_sets_by_any_of_its_names_and_no_other(
    open_site: OpenSite,
) -> None:
    site = await open_site()
    site.sets.models.aliases = {"alias": "toy", "people/toy": "toy"}
    for model in ("toy", "alias", "people/toy"):
        await site.put(model=model)
        assert (await classified(site, "pets", model=model)).model == "toy"
    with pytest.raises(InvalidInput, match="a request has one model"):
        await classified(site, "pets", model="other")


async def test_the_number_of_sets_and_their_bytes_are_limited(
    open_site: OpenSite, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(service, "MAX_SETS", 2)
    monkeypatch.setattr(service, "MAX_SETS_BYTES", 100_000)
    site = await open_site()
    await site.put("a")
    await site.put("b")
    await site.put("b", labels=["x", "y"])
    with pytest.raises(TooMany, match="there would be 3 label sets, so delete one; the limit is 2"):
        await site.put("c")
    with pytest.raises(TooMany, match="the limit is 100,000"):
        await site.put("b", labels=[{"label": "x", "examples": [png() + bytes(100_000)]}])
    with pytest.raises(TooMany, match="the limit is 100,000"):  # 64 bytes of each are its embedding
        await site.put("b", labels=[f"{n}" for n in range(1_000)])


async def test_a_put_is_charged_each_prompt_and_example_before_it_is_stored(
    open_site: OpenSite,
) -> None:
    paid: list[int] = []

    async def charge(rows: int) -> None:
        if rows > 10:
            raise RateLimited("too fast.", retry_after=1.0)
        paid.append(rows)

    site = await open_site(backend=(backend := Counted()), charge=charge)
    fields: dict[str, Any] = {"labels": ["cat", {"label": "dog", "examples": [png()]}], "templates": ["a {}"]}
    for _ in range(2):
        await site.put(**fields)
    await site.put(labels=["cow"], templates=["a {}"])
    assert paid == [3, 3, 1]
    version, backend.asked = site.sets.get("pets").version, 0
    with pytest.raises(RateLimited):
        await site.put(labels=[f"{number}" for number in range(11)], templates=["a {}"])
    assert (site.sets.get("pets").version, backend.asked) == (version, 0)


async def test_a_build_works_for_no_request_and_gives_way_to_others(
    open_site: OpenSite,
) -> None:
    seen: list[Any] = []

    class Noting(Counted):
        async def encode_text(self, token_ids: Any, lengths: Any) -> Any:
            seen.extend(getattr(current(), "requests", ()))
            return await super().encode_text(token_ids, lengths)

    site = await open_site(backend=Noting())
    seen.clear()
    enter(RequestContext("a", time.monotonic() + 60, key="b", digest="c"))
    await site.put()
    enter(None)
    assert {(each.id[:10], each.bulk, each.key, each.deadline) for each in seen} == {
        ("label-set-", True, None, None)
    }


async def test_two_sets_are_built_at_a_time_and_a_small_one_does_not_wait_for_large_ones(
    open_site: OpenSite,
) -> None:
    site = await open_site(backend=(backend := Counted()))
    backend.gate.clear()
    large = {"labels": [f"{number}" for number in range(1_000)], "templates": ["{}"]}
    puts = [asyncio.create_task(site.put(f"large-{number}", **large)) for number in range(3)]
    await until(lambda: len(site.states) == 3)
    puts.append(asyncio.create_task(site.put("small")))
    await until(lambda: len(site.states) == 4)
    assert backend.asked <= 2 * build._PROMPTS
    backend.gate.set()
    done, _ = await asyncio.wait(puts, return_when=asyncio.FIRST_COMPLETED)
    assert {task.result().name for task in done} == {"small"}
    await asyncio.gather(*puts)


async def test_a_build_is_tried_again_after_an_error_that_passes(open_site: OpenSite) -> None:
    site = await open_site(backend=(backend := Counted()))
    backend.error = BackendUnavailable("the encoders are away.")
    await site.begin(labels=["cat", {"label": "dog", "examples": [png()]}])
    await until(lambda: bool(site.sets.get("pets").error))
    backend.error = None
    await until(lambda: site.ready("pets"))
    assert site.sets.get("pets").error is None


async def test_after_a_fault_of_the_service_a_set_has_failed_until_it_is_put_again(
    open_site: OpenSite,
) -> None:
    site = await open_site(backend=(backend := Counted()))
    backend.error = RuntimeError("a fault")
    failed = await site.put()
    await site.sets.refresh()  # it finds the same put
    assert (site.sets.get("pets"), failed.state, failed.task) == (failed, "failed", None)
    backend.error = None
    assert (await site.put()).state == "ready"
