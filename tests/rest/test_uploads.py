"""What a request holds, read from each of its three forms; and what is refused in each, and with which words."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
from starlette.requests import Request

from clipserve.api.requests import ClassifyRequest, EmbedRequest
from clipserve.application.body import Body
from clipserve.errors import ClipError, InvalidInput, TooMany, UnsupportedMediaType
from clipserve.rest.reading import Upload, parse_upload, read_fields

IMAGE = b"\xff\xd8\xff the bytes of an image"
B64 = base64.b64encode(IMAGE).decode()
FORM = "multipart/form-data; boundary=b"


def request(content_type: str, query: bytes = b"", max_json_bytes: int = 1_000) -> Request:
    state = {"headers": {b"content-type": content_type.encode("latin-1")}}
    app = SimpleNamespace(state=SimpleNamespace(max_json_bytes=max_json_bytes))
    return Request({"type": "http", "headers": [], "query_string": query, "state": state, "app": app})


def read(content_type: str | None, body: bytes, query: str = "", max_json_bytes: int = 1_000) -> Upload:
    whole, asked = Body(body), request(content_type or "", query.encode(), max_json_bytes)
    upload = parse_upload(asked, whole)
    assert len(whole) == 0, "it holds the body longer than it needs it"
    return upload


def read_json(value: Any, max_json_bytes: int = 1_000) -> Upload:
    return read("application/json", json.dumps(value).encode(), max_json_bytes=max_json_bytes)


def text(name: str, value: str) -> bytes:
    return f'--b\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n{value}\r\n'.encode()


def file(name: str, value: bytes) -> bytes:
    head = f'--b\r\nContent-Disposition: form-data; name="{name}"; filename="x"\r\n\r\n'
    return head.encode() + value + b"\r\n"


def read_form(*parts: bytes) -> Upload:
    return read(FORM, b"".join(parts) + b"--b--\r\n")


# A form.


@pytest.mark.parametrize(
    ("parts", "said"),
    [
        pytest.param([text("image", "abc")], "the field `image` is text, not a file", id="text as an image"),
        pytest.param([text("to_images", "a")], "the field `to_images` is text", id="text on the other side"),
        pytest.param([text("top_k", "1")] * 2, "the field `top_k` is given more than once", id="twice"),
        pytest.param([file("labels", b"a")], "the field `labels` is a file; images go into", id="a file"),
        pytest.param(
            [text("label", "é").decode().encode("latin-1")],
            "the field `label` is not valid UTF-8",
            id="a text in Latin-1",
        ),
        pytest.param(
            [text("labél", "a").decode().encode("latin-1")], "header failed to decode", id="a name in Latin-1"
        ),
    ],
)
def test_a_field_of_a_form_that_cannot_be_is_refused_by_its_name(parts: list[bytes], said: str) -> None:
    with pytest.raises(InvalidInput, match=said):
        read_form(*parts)


def test_a_form_gives_its_images_in_order_and_every_other_field_as_it_is() -> None:
    upload = read_form(
        text("model", "toy"),
        file("image", IMAGE),
        text("label", "a"),
        file("images", b"2"),
        text("labels", "b"),
    )
    assert upload == Upload({"images": [IMAGE, b"2"], "model": "toy", "labels": ["a", "b"]}, typed=False)


@pytest.mark.parametrize("part", [text("label", "a"), file("image", b"")], ids=["text", "files"])
def test_a_form_may_have_4096_parts_and_no_more(part: bytes) -> None:
    upload = read_form(*[part] * 4_096)
    assert len(upload.fields.get("labels") or upload.fields["images"]) == 4_096
    with pytest.raises(TooMany, match=r"more than 4,096 parts") as caught:
        read_form(*[part] * 4_097)
    assert caught.value.limit == 4_096


def test_a_file_of_any_size_stays_in_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tempfile.tempdir", "/nowhere")  # a temporary file could not be made
    assert (read_form(file("image", bytes(5_000_000)))).fields["images"] == [bytes(5_000_000)]


@pytest.mark.parametrize("charset", ["utf-8", '"Utf-8"', "latin-1", "undefined", "x" * 2_000])
def test_text_is_utf_8_whatever_its_charset_says(charset: str) -> None:
    upload = read(f"{FORM}; charset={charset}", text("label", "été") + b"--b--\r\n")
    assert upload.fields == {"labels": ["été"]}
    assert read(f"application/json; charset={charset}", b'{"a": 1}').fields == {"a": 1}


# The bytes of one image.


@pytest.mark.parametrize("content_type", ["IMAGE/PNG", "image/*", "application/octet-stream"])
def test_a_body_that_is_an_image_takes_its_fields_from_the_query(content_type: str) -> None:
    upload = read(content_type, IMAGE, "label=a&label=b&top_k=1")
    assert upload == Upload({"images": [IMAGE], "labels": ["a", "b"], "top_k": "1"}, typed=False)


@pytest.mark.parametrize(
    ("query", "said"),
    [
        ("top_k=1&top_k=2", "the field `top_k` is given more than once"),
        ("image=abc", "the field `image` is text, not a file"),
        ("text=caf%E9", "the query is not valid UTF-8"),
    ],
)
def test_a_query_that_cannot_be_is_refused(query: str, said: str) -> None:
    assert read("image/jpeg", IMAGE, "text=caf%C3%A9").fields["texts"] == ["café"]
    with pytest.raises(InvalidInput, match=said):
        read("image/jpeg", IMAGE, query)


@pytest.mark.parametrize("content_type", [FORM, "application/json", "Application/JSON; charset=utf-8"])
def test_beside_a_form_or_json_the_query_has_no_fields(content_type: str) -> None:
    with pytest.raises(InvalidInput, match="there is a query"):
        read(content_type, b"{}", "top_k=1")


@pytest.mark.parametrize(
    ("content_type", "named"),
    [
        (None, "missing"),
        ("", "missing"),
        ("text/plain; charset=utf-8", "text/plain"),
        ("imagejpeg", "imagejpeg"),
        ("x" * 65, "x" * 64),
    ],
)
def test_another_content_type_is_named_in_the_refusal(content_type: str | None, named: str) -> None:
    with pytest.raises(UnsupportedMediaType) as caught:
        read(content_type, IMAGE)
    assert caught.value.detail.startswith(f"Content-Type is {named}. ")


# Fields by their schema.


def refusal(upload: Upload, kind: type[Any]) -> str:
    with pytest.raises(ClipError) as caught:
        read_fields(kind, upload, request(""))
    assert type(caught.value) is InvalidInput
    return caught.value.detail


@pytest.mark.parametrize("fields", [{"top_k": "5"}, {"truncate": 1}, {"labels": [1]}])
def test_a_wrong_type_in_json_is_refused_by_name(fields: dict[str, Any]) -> None:
    (name,) = fields
    assert refusal(read_json({"labels": ["a"]} | fields), ClassifyRequest).startswith(name)


def test_in_a_form_numbers_and_switches_are_text() -> None:
    upload = read_form(text("label", "a"), text("top_k", "5"), text("truncate", "true"))
    assert read_fields(ClassifyRequest, upload, request("")) == ClassifyRequest(
        (), ["a"], top_k=5, truncate=True
    )
    for name, wrong in {"top_k": "five", "temperature": "nan", "threshold": "-inf"}.items():
        told = refusal(read_form(text("label", "a"), text(name, wrong)), ClassifyRequest)
        assert told.startswith(f"{name}: ")


@pytest.mark.parametrize(
    "upload_of",
    [
        pytest.param(lambda: read_form(text("temperature", "1")), id="form"),
        pytest.param(lambda: read_json({"temperature": 1}), id="json"),
        pytest.param(lambda: read("image/png", IMAGE, "temperature=1"), id="query"),
    ],
)
def test_an_unknown_field_is_refused_and_the_known_ones_are_told(upload_of: Callable[[], Upload]) -> None:
    told = refusal(upload_of(), EmbedRequest)
    assert told.startswith("temperature: ")
    known = "model, expect_fingerprint, images, texts, truncate, encoding_format, embedding_type"
    assert told.endswith(f"Known fields: {known}.")


def test_a_refusal_stays_short_and_repeats_no_values() -> None:
    told = refusal(read_json({f"{i}" + "x" * 100: "secret" for i in range(7)}), EmbedRequest)
    assert told.count(";") == 4
    assert "x" * 63 in told
    assert "x" * 64 not in told
    assert "secret" not in told
