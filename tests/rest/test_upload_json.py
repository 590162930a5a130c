"""JSON: images in base64, and every limit at its bound."""

from __future__ import annotations

import json
from typing import Any

import pytest

from service.errors import BodyTooLarge, InvalidInput, UndecodableImage
from service.rest.uploads import Upload
from tests.rest.test_uploads import B64, IMAGE, read, read_json


async def test_json_gives_images_from_base64_and_fields_with_their_types() -> None:
    upload = await read_json({"images": [B64, f"data:image/jpeg;base64,{B64}"], "labels": ["a"], "top_k": 1})
    assert upload == Upload([IMAGE, IMAGE], {"labels": ["a"], "top_k": 1}, typed=True)
    assert (await read_json({"texts": ["a"]})).images == []


@pytest.mark.parametrize(
    ("image", "what"),
    [
        ("http://localhost/cat.jpg", "is a URL"),
        ("https://localhost/cat.jpg", "is a URL"),
        ("file:///etc/passwd", "is a URL"),
        ("data:text/plain,hello", "is a data URI without ;base64"),
        (f"data:image/png,{B64}", "is a data URI without ;base64"),
        (f"data:image/png;base64,{B64}!", "is not valid base64"),
        (f"base64,{B64}", "is not valid base64"),
        (B64 + "\n", "is not valid base64"),
        (B64 + "=", "is not valid base64"),
        (B64[:-1], "is not valid base64"),
        ("_-8=", "is not valid base64"),
        ("é", "is not valid base64"),
    ],
)
async def test_what_is_not_strict_base64_is_an_error_of_its_image(image: str, what: str) -> None:
    good, bad = (await read_json({"images": [B64, image]})).images
    assert good == IMAGE
    assert isinstance(bad, UndecodableImage)
    assert bad.index == 1
    assert f"image 1 {what}" in bad.detail


@pytest.mark.parametrize("images", [None, "x", {}, 5, [5], [B64, None], [[B64]]])
async def test_images_must_be_a_list_of_strings(images: Any) -> None:
    with pytest.raises(InvalidInput, match="images: must be a list of base64 strings"):
        await read_json({"images": images})


@pytest.mark.parametrize("body", [[], "images", None, 5, [B64]])
async def test_json_must_be_an_object(body: Any) -> None:
    with pytest.raises(InvalidInput, match="must be a JSON object"):
        await read_json(body)


async def test_broken_json_is_refused_with_the_place() -> None:
    with pytest.raises(InvalidInput, match=r"the body is not JSON: .* at character 7"):
        await read("application/json", b'{"a": [}')


async def test_json_may_have_so_many_bytes_besides_its_images_and_not_one_more() -> None:
    images = [B64 * 50, B64 * 50]  # these do not count
    body = json.dumps({"images": images, "labels": ["a" * 100]}).encode()
    besides = len(body) - 2 * 50 * len(B64)
    upload = await read("application/json", body, max_json_bytes=besides)
    assert upload.fields == {"labels": ["a" * 100]}
    with pytest.raises(BodyTooLarge) as caught:
        await read("application/json", body, max_json_bytes=besides - 1)
    assert (caught.value.limit, caught.value.actual) == (besides - 1, besides)
    assert f"{besides:,} bytes besides its images" in caught.value.detail
