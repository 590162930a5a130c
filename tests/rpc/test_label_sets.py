"""Label sets over gRPC: what is put comes back, and is classified by. tests/fronts compares the rest with REST."""

from __future__ import annotations

import hashlib
from typing import Any

from clipserve.v1 import clip_pb2
from tests.rpc.client import Client
from tests.rpc.label_sets import put
from tests.support import png

FIRST, SECOND = png(1), png(2)


async def test_a_set_comes_back_as_it_was_put(client: Client) -> None:
    labels: list[dict[str, Any]] = [
        {"label": "cat", "id": "n1", "prompts": [], "examples": [FIRST, SECOND], "threshold": 0.1},
        {"label": "dog", "prompts": ["a {} that barks", "an animal"], "examples": [png(3)]},
        {"label": "cow", "prompts": [], "examples": [FIRST], "threshold": 0.0},
    ]
    fields = {
        "templates": ["a {}", "the {}"],
        "background": ["grass"],
        "truncate": True,
        "scoring": "sigmoid",
        "temperature": 2.5,
        "threshold": -0.25,
        "example_weight": 0.75,
    }
    kept = await put(client, labels=labels, **fields)
    assert {name: kept[name] for name in fields} == fields
    for each in labels:
        each["examples"] = [hashlib.sha256(file).hexdigest() for file in each["examples"]]
    assert kept["labels"] == labels
    assert (kept["state"], kept["served_version"]) == ("ready", kept["version"])
    assert (kept["label_count"], kept["prompts"], kept["prompts_done"]) == (3, 8, 8)
    assert (kept["loo"]["examples"], kept["read_only"]) == (4, False)
    assert (await client.call("GetLabelSet", name="pets"))["label_set"] == kept


async def test_a_set_scores_as_its_labels_and_templates_to_the_last_bit(client: Client) -> None:
    await put(client, templates=["a {}", "the {}"], background=["grass"])
    images = [FIRST, b"broken", SECOND]
    by_set = await client.stub.Classify(clip_pb2.ClassifyRequest(images=images, label_sets=["pets"]))
    by_labels = await client.stub.Classify(
        clip_pb2.ClassifyRequest(
            images=images, labels=["cat", "dog"], templates=["a {}", "the {}"], background=["grass"]
        )
    )
    assert by_set.results == by_labels.results
    assert [len(result.labels) for result in by_set.results] == [2, 0, 2]
    assert (len(by_set.label_sets), len(by_labels.label_sets)) == (1, 0)
