"""What a message alone can have wrong in a label set, its limits, and when a set may be used.

The faults that both APIs can be sent are in tests/apis.
"""

from __future__ import annotations

from math import inf, nan
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest

from clipserve.rpc.message import MAX_FIELDS, MAX_IMAGES
from clipserve.v1 import clip_pb2
from tests.rpc.client import Client
from tests.rpc.label_sets import PETS, client_with, names, put, refusal
from tests.support import DIM, png

FIRST = png(1)
INVALID = grpc.StatusCode.INVALID_ARGUMENT


@pytest.mark.parametrize(
    ("fields", "code", "said"),
    [
        ({"scoring": 9}, "invalid_input", "scoring is 9; known are 1 to 3"),
        ({"temperature": nan}, "invalid_input", "temperature is nan; it must be from"),
        ({"threshold": -inf}, "invalid_input", "threshold is -inf; it must be from"),
        ({"example_weight": inf}, "invalid_input", "example_weight is inf; it must be from"),
        ({"labels": [{"label": "a", "threshold": nan}]}, "invalid_input", "label 0: threshold is nan"),
    ],
    ids=lambda value: value[:40] if isinstance(value, str) else "_",
)
async def test_what_is_wrong_in_a_part_is_refused_and_nothing_is_kept(
    client: Client, fields: dict[str, Any], code: str, said: str
) -> None:
    refused = await refusal(client, "PutLabelSet", **{"name": "pets", "labels": PETS} | fields)
    assert (refused.status, refused.fields["code"]) == (INVALID, code)
    assert said in refused.fields["detail"]
    assert await names(client) == []


async def test_texts_of_a_set_are_bounded_before_they_are_parsed_and_images_are_not_counted_there(
    toy: Path,
) -> None:
    async with client_with(toy, max_json_bytes=5_000) as client:
        photo = png(1, (90, 60))
        assert len(photo) > 15_000
        await put(client, "a", labels=[{"label": "a", "examples": [photo]}])
        for size, code in ((4_900, "text_too_long"), (5_000, "body_too_large")):
            labels = [{"label": "b", "prompts": ["x" * size]}]
            refused = await refusal(client, "PutLabelSet", name="b", labels=labels)
            assert refused.fields["code"] == code
        assert (refused.status, refused.fields["limit"]) == (grpc.StatusCode.RESOURCE_EXHAUSTED, 5_000)
        assert await names(client) == ["a"]


@pytest.mark.parametrize(
    ("labels", "limit"),
    [
        ([{"examples": [b""] * (MAX_IMAGES // 2)}, {"examples": [b""] * (MAX_IMAGES // 2 + 1)}], MAX_IMAGES),
        ([{"prompts": [""] * 40_000}, {"prompts": [""] * 40_000}], MAX_FIELDS),
        ([{}] * (MAX_FIELDS + 1), MAX_FIELDS),
    ],
    ids=["images", "prompts", "labels"],
)
async def test_what_all_labels_hold_together_is_bounded_before_they_are_parsed(
    client: Client, labels: list[dict[str, Any]], limit: int
) -> None:
    refused = await refusal(client, "PutLabelSet", name="pets", labels=labels)
    assert (refused.fields["code"], refused.fields["limit"]) == ("too_many", limit)
    assert refused.fields["detail"].startswith("the message has more than")


async def test_bytes_in_a_label_that_are_no_message_are_refused(client: Client) -> None:
    labels = clip_pb2.PutLabelSetRequest.LABELS_FIELD_NUMBER << 3 | 2
    for label in (b"\x0a\x05ab", b"\x0a\x01\xff"):  # cut off; no UTF-8
        message = bytes([labels, len(label)]) + label
        call = client.channel.unary_unary("/clipserve.v1.Clip/PutLabelSet")
        with pytest.raises(grpc.aio.AioRpcError, match="not a message of this method"):
            await call(message)


async def test_weights_are_not_counted_among_the_fields_of_a_message(toy: Path) -> None:
    async with client_with(toy, max_json_bytes=2_000) as client:
        (model,) = (await client.call("ListModels"))["models"]
        fields = {
            "labels": [{"label": f"{n}"} for n in range(100)],
            "expect_fingerprint": model["fingerprint"],
        }
        fields["weights"] = np.ones((100, DIM), np.float32).tobytes()
        assert (await put(client, **fields))["weights"]
        refused = await refusal(client, "PutLabelSet", name="b", **fields, biases=[0.0] * 1_000)
        assert refused.fields["code"] == "body_too_large"
