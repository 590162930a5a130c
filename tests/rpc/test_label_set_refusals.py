"""What only a message can have wrong in a label set: numbers that JSON has not, and the bytes of its parts.

What both APIs can be sent is in tests/apis, how the parts of a message are counted in `test_message`.
"""

from __future__ import annotations

from math import inf, nan
from pathlib import Path
from typing import Any

import pytest

from loadtests.fake_backend import FakeBackend
from tests.rpc.client import Client, Refused, client_of
from tests.support.service import DIM, png, serving


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        pytest.param({"scoring": 9}, "scoring is 9; known are 1 to 3", id="an unknown scoring"),
        pytest.param({"temperature": nan}, "temperature is nan; it must be from", id="no temperature"),
        pytest.param({"threshold": -inf}, "threshold is -inf; it must be from", id="an infinite threshold"),
        pytest.param({"example_weight": inf}, "example_weight is inf; it must be from", id="infinite weight"),
        pytest.param(
            {"labels": [{"label": "a", "threshold": nan}]}, "label 0: threshold is", id="of a label"
        ),
    ],
)
async def test_a_number_that_json_has_not_is_refused_and_nothing_is_kept(
    client: Client, fields: dict[str, Any], said: str
) -> None:
    with pytest.raises(Refused) as refused:
        await client.call("PutLabelSet", **{"name": "pets", "labels": ["cat", "dog"]} | fields)
    assert refused.value.fields["code"] == "invalid_input"
    assert said in refused.value.fields["detail"]
    assert (await client.call("ListLabelSets"))["label_sets"] == []


async def test_texts_of_a_set_are_bounded_before_they_are_parsed_and_images_are_not_counted_there(
    toy: Path,
) -> None:
    async with (
        serving(FakeBackend(DIM), toy, grpc_enabled=True, max_json_bytes=5_000) as running,
        client_of(running.rpc_address) as client,
    ):
        examples = [png(1, (90, 60))]
        assert len(examples[0]) > 15_000
        await client.call("PutLabelSet", name="a", labels=[{"label": "a", "examples": examples}])
        for size, code in ((4_900, "text_too_long"), (5_000, "body_too_large")):
            labels = [{"label": "b", "prompts": ["x" * size]}]
            with pytest.raises(Refused) as refused:
                await client.call("PutLabelSet", name="b", labels=labels)
            assert refused.value.fields["code"] == code
        assert [each["name"] for each in (await client.call("ListLabelSets"))["label_sets"]] == ["a"]
