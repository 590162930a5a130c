"""Each method does what REST does with the same fields."""

from __future__ import annotations

import grpc
import pytest

from clipserve.v1 import clip_pb2
from tests.rpc.client import Client
from tests.support import png

FIRST, SECOND = png(1), png(2)


async def test_an_unknown_type_of_vector_is_refused_by_its_number(client: Client) -> None:
    message = clip_pb2.EmbedRequest(texts=["a"], embedding_type=9)  # type: ignore[arg-type]
    with pytest.raises(grpc.aio.AioRpcError, match="embedding_type is 9; known are 1 to 5"):
        await client.stub.Embed(message)


async def test_a_large_answer_is_given_whole(client: Client) -> None:
    labels = [f"{number:04}" for number in range(1_000)]
    answer = await client.call("Classify", images=[png(seed, (4, 4)) for seed in range(32)], labels=labels)
    assert [len(result["labels"]) for result in answer["results"]] == [1_000] * 32
