"""Messages are taken apart as the parser would, and bounded before it sees them."""

from __future__ import annotations

import random
from contextlib import suppress

import pytest
from google.protobuf.message import DecodeError
from hypothesis import given
from hypothesis import strategies as st

from clipserve.errors import BodyTooLarge, ClipError, MalformedRequest, TooMany
from clipserve.rpc.message import MAX_FIELDS, MAX_IMAGES, Images, Walk
from clipserve.v1 import clip_pb2

FIELDS = {1: "images", 3: "to_images"}
IMAGE = clip_pb2.SimilarityRequest(images=[b""]).SerializeToString()  # two bytes
TEXT = clip_pb2.SimilarityRequest(texts=[""]).SerializeToString()


def parts(message: bytes, max_bytes: int = 10_000) -> tuple[Images, bytes]:
    return Walk(max_bytes).images(message, FIELDS)


messages = st.builds(
    clip_pb2.SimilarityRequest,
    images=st.lists(st.binary(max_size=300)),
    to_images=st.lists(st.binary(max_size=300)),
    texts=st.lists(st.text(max_size=20)),
    truncate=st.booleans(),
    model=st.none() | st.text(max_size=5),
)


@given(messages)
def test_images_and_the_rest_are_what_the_parser_finds(message: clip_pb2.SimilarityRequest) -> None:
    images, rest = parts(message.SerializeToString())
    assert images == {"images": list(message.images), "to_images": list(message.to_images)}
    del message.images[:], message.to_images[:]
    assert clip_pb2.SimilarityRequest.FromString(rest) == message


@given(messages, st.randoms())
def test_fields_may_come_in_any_order(message: clip_pb2.SimilarityRequest, order: random.Random) -> None:
    pieces = [clip_pb2.SimilarityRequest(images=[image]).SerializeToString() for image in message.images]
    pieces += [clip_pb2.SimilarityRequest(texts=[text]).SerializeToString() for text in message.texts]
    mixed = sorted(pieces, key=lambda _: order.random())
    images, rest = parts(b"".join(mixed))
    whole = clip_pb2.SimilarityRequest.FromString(b"".join(mixed))
    assert images["images"] == list(whole.images)
    assert clip_pb2.SimilarityRequest.FromString(rest).texts == whole.texts


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
    walk = Walk(100_000)
    messages, cut, rest = walk.messages(message.SerializeToString(), 2, {12: "weights"})
    parts = [walk.images(each, {4: "examples"}) for each in messages]
    assert [images["examples"] for images, _ in parts] == [list(label.examples) for label in message.labels]
    for label, (_, own) in zip(message.labels, parts, strict=True):
        del label.examples[:]
        assert clip_pb2.NewLabel.FromString(own).SerializeToString() == label.SerializeToString()  # NaN
    assert cut["weights"] == [message.weights] * message.HasField("weights")
    message.ClearField("weights")
    del message.labels[:]
    assert clip_pb2.PutLabelSetRequest.FromString(rest) == message


def test_limits_are_of_a_message_and_of_those_in_it_together() -> None:
    label = clip_pb2.NewLabel(label="ab", examples=[bytes(50)])  # 4 bytes besides the image
    message = clip_pb2.PutLabelSetRequest(name="x", labels=[label, label]).SerializeToString()

    def walk(max_bytes: int) -> None:
        walk = Walk(max_bytes)
        for each in walk.messages(message, 2, {})[0]:
            walk.images(each, {4: "examples"})

    walk(3 + 2 * (2 + 4))
    with pytest.raises(BodyTooLarge):
        walk(3 + 2 * (2 + 4) - 1)


@given(st.binary(max_size=60))
def test_any_bytes_are_taken_apart_or_refused(data: bytes) -> None:
    try:
        _, rest = parts(data)
    except MalformedRequest:
        with suppress(DecodeError):
            clip_pb2.SimilarityRequest.FromString(data)
            # It is stricter in nothing but groups, which no message of proto3 has.
            assert any(byte & 7 in (3, 4) for byte in data)
    else:
        assert len(rest) <= len(data)


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
        parts(message)


def test_a_message_may_have_the_limit_of_bytes_besides_its_images_and_not_one_more() -> None:
    text = clip_pb2.SimilarityRequest(texts=["x" * 98]).SerializeToString()
    image = clip_pb2.SimilarityRequest(images=[bytes(5_000)]).SerializeToString()
    assert parts(image + text, 100)[1] == text
    with pytest.raises(BodyTooLarge) as caught:
        parts(text + image, 99)
    assert (caught.value.limit, caught.value.actual) == (99, 100)


@pytest.mark.parametrize(("piece", "limit"), [(IMAGE, MAX_IMAGES), (TEXT, MAX_FIELDS)])
def test_a_message_may_have_the_limit_of_fields_and_not_one_more(piece: bytes, limit: int) -> None:
    parts(piece * limit, 10**6)
    with pytest.raises(TooMany) as caught:
        parts(piece * (limit + 1), 10**6)
    error: ClipError = caught.value
    assert (error.limit, error.actual) == (limit, limit + 1)
