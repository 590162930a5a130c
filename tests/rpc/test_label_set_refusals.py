"""What is wrong in a part of a label set is refused whole; and who may put one, and when one may be used."""

from __future__ import annotations

import asyncio
from math import inf, nan
from pathlib import Path
from typing import Any

import grpc
import pytest

from clipserve.access.key_file import add_key
from clipserve.rpc.message import MAX_FIELDS, MAX_IMAGES
from clipserve.v1 import clip_pb2
from tests.application.label_sets.making import not_waiting
from tests.rpc.client import Client, Refused
from tests.rpc.label_sets import PETS, Slow, client_with, names, put, refusal
from tests.support import png

FIRST = png(1)
BROKEN_EXAMPLES = [{"label": "cat", "examples": [FIRST]}, {"label": "dog", "examples": [FIRST, b"text"]}]
INVALID = grpc.StatusCode.INVALID_ARGUMENT


@pytest.mark.parametrize(
    ("fields", "code", "said"),
    [
        ({"labels": []}, "invalid_input", "give at least one label"),
        ({"labels": [{"label": f"{n}"} for n in range(1_001)]}, "too_many", "1,001 labels"),
        ({"labels": [{"label": "a"}, {"label": " "}]}, "invalid_input", "label 1 is empty"),
        ({"labels": [{"label": "a"}, {"label": "a"}]}, "invalid_input", "label 1 is the same as label 0"),
        ({"labels": [{"label": "a", "id": ""}]}, "invalid_input", "the id of label 0"),
        ({"labels": [{"label": "a", "prompts": ["{}" * 9]}]}, "bad_prompt_template", "of label 0"),
        ({"labels": [{"label": "a", "examples": [bytes(10_000_000)]}]}, "too_many", "bytes in the label set"),
        ({"labels": [{"label": "a", "examples": [b""] * 1_001}]}, "too_many", "1,001 example images"),
        ({"labels": BROKEN_EXAMPLES}, "unsupported_format", "example 1 of label 1"),
        ({"labels": [{"label": "a"}, {"label": "b" * 40}]}, "text_too_long", "label 1"),
        ({"name": "no name"}, "invalid_input", "the name of a label set"),
        ({"name": ""}, "invalid_input", "the name of a label set"),
        ({"templates": ["x"]}, "bad_prompt_template", "template 0 has no slot"),
        ({"scoring": 9}, "invalid_input", "scoring is 9; known are 1 to 3"),
        ({"temperature": 0.0}, "invalid_input", "temperature is 0; it must be from"),
        ({"temperature": nan}, "invalid_input", "temperature is nan; it must be from"),
        ({"threshold": -inf}, "invalid_input", "threshold is -inf; it must be from"),
        ({"example_weight": inf}, "invalid_input", "example_weight is inf; it must be from"),
        ({"labels": [{"label": "a", "threshold": nan}]}, "invalid_input", "threshold of label 0 is nan"),
    ],
    ids=lambda value: value[:40] if isinstance(value, str) else "_",
)
async def test_what_is_wrong_in_a_part_is_refused_and_nothing_is_kept(
    client: Client, fields: dict[str, Any], code: str, said: str
) -> None:
    refused = await refusal(client, "PutLabelSet", **{"name": "pets", "labels": PETS} | fields)
    assert (refused.status, refused.fields["code"]) == (INVALID, code)
    assert said in refused.fields["detail"]
    if "label 1" in said:
        assert refused.fields["index"] == 1
    assert await names(client) == []


async def test_a_set_is_for_a_model_that_is_served_with_the_fingerprint_that_is_expected(
    client: Client,
) -> None:
    fingerprint = (await put(client, model="toy"))["fingerprint"]
    await put(client, expect_fingerprint=fingerprint)
    for field, code in (("model", "unknown_model"), ("expect_fingerprint", "wrong_fingerprint")):
        refused = await refusal(client, "PutLabelSet", name="other", labels=PETS, **{field: "none"})
        assert refused.fields["code"] == code
    assert await names(client) == ["pets"]


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"temperature": nan}, "temperature is nan"),
        ({"temperature": inf}, "temperature is inf"),
        ({"threshold": nan}, "threshold is nan"),
        ({"scoring": 4}, "scoring is 4; known are 1 to 3"),
        ({"label_sets": ["pets"]}, "send these or a label set"),
    ],
)
async def test_options_that_make_no_sense_are_refused(
    client: Client, options: dict[str, Any], said: str
) -> None:
    refused = await refusal(client, "Classify", images=[FIRST], labels=["a"], **options)
    assert refused.status == INVALID
    assert said in refused.fields["detail"]


async def test_sets_are_put_and_deleted_with_a_key_for_it_and_used_with_another(
    toy: Path, tmp_path: Path
) -> None:
    file = tmp_path / "keys"
    user, manager = add_key(file, "user", ["use"]), add_key(file, "manager", ["manage"])

    async def code(client: Client, key: str, method: str, **fields: Any) -> str:
        try:
            await client.call(method, [("authorization", f"Bearer {key}")], **fields)
        except Refused as refused:
            return str(refused.status.name)
        return "OK"

    async with client_with(toy, keys_file=file) as client:
        for key, put_or_delete, use in (
            (user, "PERMISSION_DENIED", "NOT_FOUND"),
            (manager, "OK", "PERMISSION_DENIED"),
            (user, "PERMISSION_DENIED", "OK"),
        ):
            assert await code(client, key, "PutLabelSet", name="pets", labels=PETS) == put_or_delete
            assert await code(client, key, "GetLabelSet", name="pets") == use
            assert await code(client, key, "Classify", images=[FIRST], label_sets=["pets"]) == use
        assert await code(client, user, "ListLabelSets") == "OK"
        assert await code(client, manager, "ListLabelSets") == "PERMISSION_DENIED"
        assert await code(client, user, "DeleteLabelSet", name="pets") == "PERMISSION_DENIED"
        assert await code(client, manager, "DeleteLabelSet", name="pets") == "OK"
        assert await code(client, user, "GetLabelSet", name="pets") == "NOT_FOUND"


async def test_a_set_that_is_not_built_yet_says_how_far_it_is_and_when_to_come_back(toy: Path) -> None:
    backend = Slow()
    async with client_with(toy, backend, deadline_seconds=2) as client:
        backend.gate.clear()
        with not_waiting():
            kept = await put(client)
        assert (kept["state"], kept["prompts_done"]) == ("building", 0)
        assert "served_version" not in kept
        refused = await refusal(client, "Classify", images=[FIRST], label_sets=["pets"])
        assert (refused.status, refused.fields["code"]) == (
            grpc.StatusCode.UNAVAILABLE,
            "label_set_not_ready",
        )
        assert refused.retry_after
        backend.gate.set()
        async with asyncio.timeout(20):
            while (await client.call("GetLabelSet", name="pets"))["label_set"]["state"] != ("ready"):
                await asyncio.sleep(0.01)


async def test_a_set_of_a_file_is_neither_put_nor_deleted(toy: Path, tmp_path: Path) -> None:
    files = tmp_path / "files"
    files.mkdir()
    (files / "pets.json").write_text('{"labels": ["cat", "dog"]}')
    async with client_with(toy, label_sets_folder=files) as client:
        for method, fields in (("PutLabelSet", {"labels": PETS}), ("DeleteLabelSet", {})):
            refused = await refusal(client, method, name="pets", **fields)
            assert (refused.status, refused.fields["code"]) == (
                grpc.StatusCode.FAILED_PRECONDITION,
                "label_set_read_only",
            )
        assert (await client.call("GetLabelSet", name="pets"))["label_set"]["read_only"]


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
