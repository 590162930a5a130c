"""JSON: images in base64, and every limit at its bound."""

from __future__ import annotations

import tracemalloc
from typing import Any

import pytest

from clipserve.api.requests import ClassifyRequest, EmbedRequest
from clipserve.errors import InvalidInput, TooMany, UndecodableImage
from clipserve.rest.reading import Upload
from tests.rest.test_uploads import B64, IMAGE, read, read_json, refusal


def test_json_gives_images_from_base64_and_fields_with_their_types() -> None:
    upload = read_json({"images": [B64, f"data:image/jpeg;base64,{B64}"], "labels": ["a"], "top_k": 1})
    assert upload == Upload({"images": [IMAGE, IMAGE], "labels": ["a"], "top_k": 1}, typed=True)


@pytest.mark.parametrize(
    ("image", "what"),
    [
        ("file:///etc/passwd", "is a URL"),
        (f"data:image/png,{B64}", "is a data URI without ;base64"),
        (f"data:image/png;base64,{B64}!", "is not valid base64"),
        (B64[:-1], "is not valid base64"),
        ("docs/cat.jpg", "is not valid base64. Send the file's bytes in base64: a path is not read."),
    ],
)
def test_what_is_not_strict_base64_is_an_error_of_its_image(image: str, what: str) -> None:
    good, bad = (read_json({"images": [B64, image]})).fields["images"]
    assert good == IMAGE
    assert isinstance(bad, UndecodableImage)
    assert bad.index == 1
    assert f"image 1 {what}" in bad.detail


@pytest.mark.parametrize("images", [None, "x", {}, [B64, None], [[B64]]])
def test_images_must_be_a_list_of_strings(images: Any) -> None:
    with pytest.raises(InvalidInput, match="images: must be a list of base64 strings"):
        read_json({"images": images})


@pytest.mark.parametrize("body", [[], "images", None])
def test_json_must_be_an_object(body: Any) -> None:
    with pytest.raises(InvalidInput, match="must be a JSON object"):
        read_json(body)


def test_json_of_too_many_values_is_refused_before_it_is_parsed() -> None:
    for piece in (b"[],", b"0,", b'"",', b'{"a":[]},', rb'"\\",'):
        body = b'{"texts": [' + piece * 10_000  # no JSON: parsed, it would be refused as that
        with pytest.raises(TooMany, match=r"commas and brackets; the limit is 5,096\.") as caught:
            read("application/json", body, max_json_bytes=8_000)
        assert 10_000 < (caught.value.actual or 0) < 30_010


def test_json_may_have_4096_images_and_no_more() -> None:
    assert len((read_json({"images": ["!"] * 4_096}, max_json_bytes=20_000)).fields["images"]) == 4_096
    with pytest.raises(TooMany, match=r"images has 4,097 images") as caught:
        read_json({"images": ["!"] * 4_097}, max_json_bytes=20_000)
    assert (caught.value.limit, caught.value.actual) == (4_096, 4_097)


@pytest.mark.parametrize("name", ["labels", "templates"])
def test_the_first_item_of_a_wrong_type_is_named_and_no_other(name: str) -> None:
    upload = read_json({"labels": ["a"]} | {name: ["a", 5, None, *[[]] * 1_000]}, max_json_bytes=10_000)
    told = refusal(upload, ClassifyRequest)
    assert told == f"{name}.1: Input should be a valid string."
    assert refusal(read_json({name: "a"}), ClassifyRequest) == f"{name}: Input should be a valid list."


@pytest.mark.parametrize(
    "fields", [{"texts": [0] * 400_000}, {"texts": [[]] * 300_000}, {str(i): 0 for i in range(80_000)}]
)
def test_a_megabyte_of_faults_costs_no_more_memory_than_its_parsing(fields: dict[str, Any]) -> None:
    upload = read_json(fields, max_json_bytes=8_000_000)
    tracemalloc.start()
    try:
        refusal(upload, EmbedRequest)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 8_000_000
