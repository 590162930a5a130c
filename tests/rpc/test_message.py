"""Messages are taken apart as the parser would, and bounded before it sees them."""

from __future__ import annotations

import random

import pytest
from google.protobuf.message import DecodeError
from hypothesis import given
from hypothesis import strategies as st

from service.errors import BodyTooLarge, ClipError, MalformedRequest, TooMany
from service.rpc.clipserve.v1 import clip_pb2
from service.rpc.message import MAX_FIELDS, MAX_IMAGES, Images, take_apart

FIELDS = {1: "images", 3: "to_images"}
IMAGE = clip_pb2.SimilarityRequest(images=[b""]).SerializeToString()  # two bytes
TEXT = clip_pb2.SimilarityRequest(texts=[""]).SerializeToString()


def parts(message: bytes, max_bytes: int = 10_000) -> tuple[Images, bytes]:
    unread = [message]
    taken = take_apart(unread, FIELDS, max_bytes)
    assert unread == []
    return taken


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


@given(st.binary(max_size=60))
def test_any_bytes_are_taken_apart_or_refused(data: bytes) -> None:
    try:
        _, rest = parts(data)
    except MalformedRequest:
        with pytest.raises(DecodeError):  # it is stricter in nothing
            clip_pb2.SimilarityRequest.FromString(data)
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
