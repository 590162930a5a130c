"""Label sets with trained weights over gRPC: bytes in place of base64, not counted as fields of a message."""

from __future__ import annotations

from math import inf, nan
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.application.label_sets.trained import BIASES, LABELS, WEIGHTS, expected
from tests.rpc.client import Client
from tests.rpc.label_sets import client_with, names, put, refusal
from tests.support import DIM, png

NAMED = [{"label": label} for label in LABELS]


async def fields_of(client: Client, **changes: Any) -> dict[str, Any]:
    (model,) = (await client.call("ListModels"))["models"]
    fields = {"labels": NAMED, "weights": WEIGHTS.tobytes(), "biases": BIASES}
    return fields | {"expect_fingerprint": model["fingerprint"]} | changes


async def test_its_scores_are_the_softmax_and_its_weights_are_shown_by_their_digest(client: Client) -> None:
    kept = await put(client, **await fields_of(client))
    assert (kept["state"], kept["weights"]["dim"]) == ("ready", DIM)
    assert (await client.call("GetLabelSet", name="pets"))["label_set"] == kept
    embedded = await client.call("Embed", images=[png()])
    vector = np.array(embedded["results"][0]["embedding"], np.float32)
    answer = await client.call("Classify", images=[png()], label_sets=["pets"])
    scores = {each["label"]: each["score"] for each in answer["results"][0]["labels"]}
    assert scores == pytest.approx(expected(vector), abs=1e-6)


@pytest.mark.parametrize(
    ("changes", "code", "said"),
    [
        ({"weights": b""}, "invalid_input", "weights has 0 bytes"),
        ({"weights": WEIGHTS.tobytes() + b"\0"}, "invalid_input", "weights has 193 bytes"),
        ({"weights": np.full_like(WEIGHTS, nan).tobytes()}, "invalid_input", "is nan"),
        ({"biases": [0.0, inf, 0.0]}, "invalid_input", "the bias of label 1 is inf"),
        ({"biases": [nan] * 3}, "invalid_input", "the bias of label 0 is nan"),
        ({"biases": [0.0]}, "invalid_input", "there are 1 biases for 3 labels"),
        ({"templates": ["a {}"]}, "invalid_input", "weights or templates"),
        ({"expect_fingerprint": ""}, "invalid_input", "give its fingerprint"),
        ({"expect_fingerprint": "toy@fp32-0123456789ab"}, "wrong_fingerprint", "is expected"),
    ],
)
async def test_a_fault_is_refused_and_nothing_is_kept(
    client: Client, changes: dict[str, Any], code: str, said: str
) -> None:
    refused = await refusal(client, "PutLabelSet", name="pets", **await fields_of(client, **changes))
    assert refused.fields["code"] == code
    assert said in refused.fields["detail"]
    assert await names(client) == []


async def test_weights_are_not_counted_among_the_fields_of_a_message(toy: Path) -> None:
    async with client_with(toy, max_json_bytes=2_000) as client:
        labels = [{"label": f"{n}"} for n in range(100)]
        weights = np.ones((100, DIM), np.float32).tobytes()
        assert (await put(client, **await fields_of(client, labels=labels, weights=weights, biases=[])))[
            "weights"
        ]
        many = await fields_of(client, biases=[0.0] * 1_000)
        assert (await refusal(client, "PutLabelSet", name="b", **many)).fields["code"] == "body_too_large"
