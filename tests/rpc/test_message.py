"""Messages are taken apart as the parser would, and bounded before it sees them."""

from __future__ import annotations

import random
from contextlib import suppress
from typing import Any

import pytest
from google.protobuf.message import DecodeError
from hypothesis import given
from hypothesis import strategies as st

from clipserve.concurrency import SHORT
from clipserve.errors import BodyTooLarge, ClipError, MalformedRequest, TooMany
from clipserve.rpc.message import MAX_FIELDS, MAX_IMAGES, MessageParser, Parts, bytes_to_parse
from clipserve.v1 import clip_pb2

IMAGE = clip_pb2.SimilarityRequest(images=[b""]).SerializeToString()  # two bytes
TEXT = clip_pb2.SimilarityRequest(texts=[""]).SerializeToString()


def parse(message: bytes, max_bytes: int = 10_000) -> tuple[clip_pb2.SimilarityRequest, Parts]:
    return MessageParser(max_bytes).parse(clip_pb2.SimilarityRequest, message)


messages = st.builds(
    clip_pb2.SimilarityRequest,
    images=st.lists(st.binary(max_size=300)),
    to_images=st.lists(st.binary(max_size=300)),
    texts=st.lists(st.text(max_size=20)),
    truncate=st.booleans(),
    model=st.none() | st.text(max_size=5),
)


@pytest.mark.parametrize(
    ("message", "size"),
    [
        ({"images": [bytes(20_000)] * 3}, 12),
        ({"images": [bytes(20_000)], "texts": ["a" * 100]}, 4 + 102),
        ({"images": [b""] * 20_000}, SHORT + 2),
        ({"texts": ["a" * 20_000]}, 20_004),
        ({"texts": ["a"]}, 3),
    ],
)
def test_the_bytes_to_parse_are_those_besides_images_and_the_count_has_an_end(
    message: dict[str, Any], size: int
) -> None:
    data = clip_pb2.SimilarityRequest(**message).SerializeToString()
    assert bytes_to_parse(clip_pb2.SimilarityRequest, data) == size


def test_a_broken_message_has_no_more_bytes_to_parse_than_its_whole_fields() -> None:
    data = clip_pb2.SimilarityRequest(images=[bytes(20_000)] * 2).SerializeToString()
    assert bytes_to_parse(clip_pb2.SimilarityRequest, data[:-1]) == 4


@given(messages)
def test_images_and_the_rest_are_what_the_parser_finds(message: clip_pb2.SimilarityRequest) -> None:
    rest, images = parse(message.SerializeToString())
    assert images == {"images": list(message.images), "to_images": list(message.to_images)}
    del message.images[:], message.to_images[:]
    assert rest == message


@given(messages, st.randoms())
def test_fields_may_come_in_any_order(message: clip_pb2.SimilarityRequest, order: random.Random) -> None:
    pieces = [clip_pb2.SimilarityRequest(images=[image]).SerializeToString() for image in message.images]
    pieces += [clip_pb2.SimilarityRequest(texts=[text]).SerializeToString() for text in message.texts]
    mixed = sorted(pieces, key=lambda _: order.random())
    rest, images = parse(b"".join(mixed))
    whole = clip_pb2.SimilarityRequest.FromString(b"".join(mixed))
    assert images["images"] == list(whole.images)
    assert rest.texts == whole.texts


label_sets = st.builds(
    clip_pb2.PutLabelSetRequest,
    name=st.text(max_size=5),
    labels=st.lists(
        st.builds(
            clip_pb2.NewLabel,
            label=st.text(max_size=5),
            prompts=st.lists(st.text(max_size=20)),
            examples=st.lists(st.binary(max_size=300)),
            threshold=st.none() | st.floats(),
        )
    ),
    templates=st.lists(st.text(max_size=5)),
    weights=st.none() | st.binary(max_size=300),
)


@given(label_sets)
def test_messages_in_a_message_and_their_images_are_what_the_parser_finds(
    message: clip_pb2.PutLabelSetRequest,
) -> None:
    parser = MessageParser(100_000)
    rest, parts = parser.parse(clip_pb2.PutLabelSetRequest, message.SerializeToString())
    labels = [parser.parse(clip_pb2.NewLabel, label) for label in parts["labels"]]
    assert [images["examples"] for _, images in labels] == [list(label.examples) for label in message.labels]
    for label, (found, _) in zip(message.labels, labels, strict=True):
        del label.examples[:]
        assert found.SerializeToString() == label.SerializeToString()  # NaN
    assert parts["weights"] == [message.weights] * message.HasField("weights")
    message.ClearField("weights")
    del message.labels[:]
    assert rest == message


def test_limits_are_of_a_message_and_of_those_in_it_together() -> None:
    label = clip_pb2.NewLabel(label="ab", examples=[bytes(50)])  # 4 bytes besides the image
    message = clip_pb2.PutLabelSetRequest(name="x", labels=[label, label]).SerializeToString()

    def parse_all(max_bytes: int) -> None:
        parser = MessageParser(max_bytes)
        _, parts = parser.parse(clip_pb2.PutLabelSetRequest, message)
        for inner in parts["labels"]:
            parser.parse(clip_pb2.NewLabel, inner)

    parse_all(3 + 2 * (2 + 4))
    with pytest.raises(BodyTooLarge):
        parse_all(3 + 2 * (2 + 4) - 1)


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
    assert parse(image + text, 100)[0].texts == ["x" * 98]
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
