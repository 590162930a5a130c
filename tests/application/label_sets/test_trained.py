"""Label sets with trained weights: what they score, and that no other model ever serves them; over every store."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from clipserve.api.answers import ImageVector
from clipserve.api.requests import EmbedRequest
from clipserve.application.label_sets.definition import Definition, digest_of
from clipserve.errors import ClipError, LabelSetFailed
from tests.application.label_sets.conftest import OpenSite, OpenStore
from tests.application.label_sets.making import Counted, Site
from tests.application.label_sets.test_label_sets import classified, rows
from tests.application.label_sets.trained import LABELS, WEIGHTS, encoded, expected, trained
from tests.support import png
from tests.waiting import until


async def vector_at(site: Site) -> Any:
    (result,) = (await site.inference.embed(EmbedRequest([png()]))).results
    assert isinstance(result, ImageVector)
    return result.embedding


async def scores(site: Site, **options: Any) -> dict[str, float]:
    return {label: score for label, score, *_ in rows((await classified(site, "pets", **options)).results[0])}


async def test_a_score_is_the_softmax_of_weights_times_vector_plus_bias(
    open_site: OpenSite, another: OpenStore
) -> None:
    put = await open_site(another())
    await put.put(**trained(put.fingerprint))
    assert isinstance(put.backend, Counted)
    site = await open_site(another(), backend=(backend := Counted()))
    state = site.sets.get("pets")
    assert (state.state, state.prompts) == ("ready", 0)
    assert put.backend.texts == backend.texts == 0, "nothing is encoded for it"
    vector = await vector_at(site)
    for temperature in (None, 4.0):
        told = await scores(site, temperature=temperature)
        assert told == pytest.approx(expected(vector, temperature or 1.0), abs=1e-6)
    ranked = rows((await classified(site, "pets")).results[0])
    assert [row[1] for row in ranked] == sorted((row[1] for row in ranked), reverse=True)
    cosines = WEIGHTS @ vector / np.linalg.norm(WEIGHTS, axis=1)
    assert {row[0]: row[2] for row in ranked} == pytest.approx(
        dict(zip(LABELS, cosines, strict=True)), abs=1e-6
    )


async def test_after_a_start_with_another_model_it_fails_says_what_to_do_and_comes_back_with_the_former(
    open_site: OpenSite, another: OpenStore
) -> None:
    first = await open_site(another())
    await first.put(**trained(first.fingerprint))
    before = await scores(first)
    other = await open_site(another(), "another choice")
    state = other.sets.get("pets")
    assert (state.state, state.served_version) == ("failed", None)
    assert state.error == (
        f"its weights were trained for {first.fingerprint}, and {other.fingerprint} is served: train them again "
        "and put the set again, or serve the former model."
    )
    with pytest.raises(LabelSetFailed, match="train them again"):
        await classified(other, "pets")
    assert await scores(await open_site(another())) == before
    assert (await other.put(**trained(other.fingerprint))).state == "ready", "it can be replaced there"


async def test_a_former_version_of_another_model_is_not_served_while_the_new_one_is_built(
    open_site: OpenSite, another: OpenStore
) -> None:
    one, backend = await open_site(another()), Counted()
    other = await open_site(another(), "another choice", backend=backend)
    await one.put(**trained(one.fingerprint))
    await until(lambda: other.states == {"pets": "failed"})
    backend.gate.clear()
    await one.put(labels=["a", "b"])
    await until(lambda: other.states == {"pets": "building"})
    assert other.sets.get("pets").served_version is None
    backend.gate.set()


async def test_a_version_changes_with_weights_biases_and_labels(open_site: OpenSite) -> None:
    site = await open_site()
    changes: list[dict[str, Any]] = [
        {"weights": encoded(-WEIGHTS)},
        {"biases": [0.5, -2.0, 0.25]},
        {"biases": []},
        {"labels": [*LABELS[:2], {"label": "cow", "id": "7"}]},
    ]
    versions = [(await site.put(**trained(site.fingerprint, **change))).version for change in ({}, *changes)]
    assert len(set(versions)) == len(versions)


def test_the_digest_of_a_set_without_weights_is_what_it_was_before_there_were_weights() -> None:
    stored = Definition(model="toy", labels=[], templates=["{}"], expect_fingerprint="toy@1").to_bytes()
    assert digest_of(stored) == "3213aeb88482d98fd36278aae8f8ad87"


async def test_a_file_is_served_like_a_put_and_with_another_model_it_is_shown_as_failed(
    open_site: OpenSite, tmp_path: Path
) -> None:
    fingerprint = (await open_site()).fingerprint
    (tmp_path / "pets.json").write_text(json.dumps(trained(fingerprint)))
    text = f'labels = {LABELS}\nweights = "{encoded()}"\nbiases = [0.5, -2, 0]\n'
    text += f'expect_fingerprint = "{fingerprint}"\n'
    (tmp_path / "same.toml").write_text(text)
    site = await open_site(files=tmp_path)
    put = await site.put("put", **trained(fingerprint))
    states = {each.name: each for each in site.sets.all()}
    assert {each.state for each in states.values()} == {"ready"}
    assert {each.version for each in states.values()} == {put.version}
    assert (await scores(site)) == pytest.approx(expected(await vector_at(site)), abs=1e-6)
    other = await open_site(None, "another choice", files=tmp_path)
    assert [each.state for each in other.sets.all()] == ["failed", "failed"]
    with pytest.raises(ClipError, match="train them again"):
        await classified(other, "pets")
