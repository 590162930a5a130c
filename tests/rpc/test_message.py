"""The fields and bytes of a message are bounded before the parser sees them."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

import pytest
from google.protobuf.message import DecodeError
from hypothesis import given
from hypothesis import strategies as st

from clipserve.errors import BodyTooLarge, ClipError, MalformedRequest, TooMany
from clipserve.rpc.message import MAX_FIELDS, MAX_IMAGES, parsed, size_to_parse
from clipserve.v1 import clip_pb2

IMAGE = clip_pb2.SimilarityRequest(images=[b""]).SerializeToString()  # two bytes
TEXT = clip_pb2.SimilarityRequest(texts=[""]).SerializeToString()


def parse(message: bytes, max_bytes: int = 10_000) -> clip_pb2.SimilarityRequest:
    return parsed(clip_pb2.SimilarityRequest, message, max_bytes)


@pytest.mark.parametrize(
    ("message", "size"),
    [
        pytest.param({"images": [bytes(20_000)] * 3, "texts": ["a" * 100]}, 0, id="images and a short text"),
        pytest.param({"texts": ["a" * 20_000]}, 20_004, id="a long text"),
    ],
)
def test_images_are_not_counted_among_the_bytes_to_parse(message: dict[str, Any], size: int) -> None:
    data = clip_pb2.SimilarityRequest(**message).SerializeToString()
    assert size_to_parse(clip_pb2.SimilarityRequest, data) == size


def test_bytes_are_counted_in_a_message_and_those_in_it_together() -> None:
    put = clip_pb2.PutLabelSetRequest(labels=[clip_pb2.NewLabel(label="ab", examples=[bytes(50)])] * 2)
    assert parsed(clip_pb2.PutLabelSetRequest, put.SerializeToString(), 12) == put
    with pytest.raises(BodyTooLarge):
        parsed(clip_pb2.PutLabelSetRequest, put.SerializeToString(), 11)


@pytest.mark.parametrize(
    ("labels", "limit"),
    [
        pytest.param(
            [{"examples": [b""] * (MAX_IMAGES // 2)}] * 2 + [{"examples": [b""]}], MAX_IMAGES, id="images"
        ),
        pytest.param([{"prompts": [""] * (MAX_FIELDS // 2)}] * 2, MAX_FIELDS, id="prompts, in two labels"),
        pytest.param([{}] * (MAX_FIELDS + 1), MAX_FIELDS, id="labels"),
    ],
)
def test_fields_are_counted_in_all_labels_together(labels: list[dict[str, Any]], limit: int) -> None:
    message = clip_pb2.PutLabelSetRequest(labels=[clip_pb2.NewLabel(**label) for label in labels])
    with pytest.raises(TooMany, match="the message has more than") as caught:
        parsed(clip_pb2.PutLabelSetRequest, message.SerializeToString(), 10**6)
    assert caught.value.limit == limit


@pytest.mark.parametrize(
    "label",
    [
        pytest.param(b"\x02\x0a\x05abcde", id="longer than its label"),
        pytest.param(b"\x04\x0a\x05ab", id="cut off"),
        pytest.param(b"\x03\x0a\x01\xff", id="no UTF-8"),
    ],
)
def test_bytes_in_a_label_that_are_no_message_are_refused(label: bytes) -> None:
    tag = clip_pb2.PutLabelSetRequest.LABELS_FIELD_NUMBER << 3 | 2
    with pytest.raises(MalformedRequest):
        parsed(clip_pb2.PutLabelSetRequest, bytes([tag]) + label, 1_000)


@given(st.binary(max_size=60))
def test_any_bytes_are_parsed_as_the_parser_alone_would_or_refused(data: bytes) -> None:
    try:
        parse(data)
    except MalformedRequest:
        with suppress(DecodeError):
            clip_pb2.SimilarityRequest.FromString(data)
            # It is stricter in nothing but groups, which no message of proto3 has.
            assert any(byte & 7 in (3, 4) for byte in data)
    else:
        clip_pb2.SimilarityRequest.FromString(data)


@pytest.mark.parametrize(
    "message",
    [
        b"\x0a",  # ends before the length
        b"\x0a\x05abc",  # ends before the value
        b"\x0d\x00\x00\x00",  # ends in a number of 4 bytes
        b"\x09\x00",  # and of 8
        b"\xff" * 11,  # a number without end
        b"\x0a" + b"\xff" * 9 + b"\x01",  # a length beyond everything
        b"\x1f\x8b\x08\x00",  # gzip
        b"\x08\x00\x73\x74",  # a group, which is none of proto3
    ],
)
def test_bytes_that_are_no_message_are_refused(message: bytes) -> None:
    with pytest.raises(MalformedRequest, match="not compressed"):
        parse(message)


def test_a_message_may_have_the_limit_of_bytes_besides_its_images_and_not_one_more() -> None:
    text = clip_pb2.SimilarityRequest(texts=["x" * 98]).SerializeToString()
    image = clip_pb2.SimilarityRequest(images=[bytes(5_000)]).SerializeToString()
    assert parse(image + text, 100).texts == ["x" * 98]
    with pytest.raises(BodyTooLarge) as caught:
        parse(text + image, 99)
    assert (caught.value.limit, caught.value.actual) == (99, 100)


@pytest.mark.parametrize(("piece", "limit"), [(IMAGE, MAX_IMAGES), (TEXT, MAX_FIELDS)])
def test_a_message_may_have_the_limit_of_fields_and_not_one_more(piece: bytes, limit: int) -> None:
    parse(piece * limit, 10**6)
    with pytest.raises(TooMany) as caught:
        parse(piece * (limit + 1), 10**6)
    error: ClipError = caught.value
    assert (error.limit, error.actual) == (limit, limit + 1)
