"""Bad inputs by the dozen, all at one server: each a 4xx with a stable code, none a 5xx, and the next good
request is served."""

from __future__ import annotations

import asyncio
import base64
import io
import json
import struct
import zlib
from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio
from PIL import Image

from loadtests.fake_backend import FakeBackend
from tests.support import DIM, Running, form, png, serving, write_toy_artifact

pytestmark = pytest.mark.asyncio(loop_scope="module")

GOOD = png(1)
B64 = base64.b64encode(GOOD).decode()


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def running(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Running]:
    toy = await write_toy_artifact(tmp_path_factory.mktemp("bad") / "toy")
    async with serving(FakeBackend(DIM), toy) as running:
        yield running


def saved(image: Image.Image, kind: str, **options: Any) -> bytes:
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png_of(width: int, height: int, depth: int = 8, colour: int = 2, body: bytes = b"") -> bytes:
    header = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", body) + chunk(b"IEND", b"")


def jpeg_frame(marker: int, precision: int = 8, side: int = 64) -> bytes:
    """The good JPEG with its frame header replaced: lossless, arithmetic, 12-bit or huge."""
    data = bytearray(saved(Image.new("RGB", (64, 64), "teal"), "JPEG"))
    at = data.index(b"\xff\xc0")
    data[at + 1], data[at + 4] = marker, precision
    data[at + 5 : at + 9] = struct.pack(">HH", side, side)
    return bytes(data)


IMAGES: dict[str, bytes] = {
    "empty": b"",
    "one byte": b"\xff",
    "jpeg magic only": b"\xff\xd8\xff",
    "text": b"this is not a picture",
    "html": b"<!doctype html><script>alert(1)</script>",
    "svg with script": b"<svg xmlns='http://www.w3.org/2000/svg'><script>alert(1)</script></svg>",
    "pdf": b"%PDF-1.7\n" + bytes(500),
    "eps": b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n",
    "tiff": saved(Image.new("RGB", (8, 8)), "TIFF"),
    "gif": saved(Image.new("P", (8, 8)), "GIF"),
    "bmp": saved(Image.new("RGB", (8, 8)), "BMP"),
    "psd": b"8BPS\0\x01" + bytes(100),
    "jpeg 2000": b"\0\0\0\x0cjP  \r\n\x87\n" + bytes(100),
    "avif": saved(Image.new("RGB", (8, 8)), "AVIF"),
    "heic": b"\0\0\0\x18ftypheic\0\0\0\0mif1heic" + bytes(100),
    "random megabyte": bytes(range(256)) * 4096,
    "png of 50,000 squared": png_of(50_000, 50_000, body=zlib.compress(bytes(1000))),
    "png of 2^31-1 squared": png_of(2**31 - 1, 2**31 - 1),
    "png of zero width": png_of(0, 10),
    "png without pixels": png_of(10, 10),
    "png 1 x 65,535": saved(Image.new("1", (1, 65_535)), "PNG"),
    "png 65,535 x 1": saved(Image.new("1", (65_535, 1)), "PNG"),
    "png of an impossible depth": png_of(10, 10, depth=7, body=zlib.compress(bytes(400))),
    "png with a bad checksum": GOOD[:40] + b"\0" + GOOD[41:],
    "png cut": GOOD[: len(GOOD) // 2],
    "jpeg cut": saved(Image.new("RGB", (64, 64)), "JPEG")[:300],
    "jpeg of 65,535 squared": jpeg_frame(0xC0, side=65_535),
    "lossless jpeg": jpeg_frame(0xC3),
    "12-bit jpeg": jpeg_frame(0xC1, precision=12),
    "webp cut": saved(Image.effect_noise((64, 64), 50).convert("RGB"), "WEBP")[:200],
    "webp of nothing": b"RIFF\x0c\0\0\0WEBPVP8 ",
    "zip": b"PK\x03\x04" + bytes(100),
    "elf": b"\x7fELF" + bytes(100),
}

JSONS: dict[str, bytes] = {
    "nothing": b"",
    "not json": b"{images:",
    "invalid utf-8": b'{"images": ["\xff\xfe"], "labels": ["a"]}',
    "a lone surrogate": b'{"images": ["' + B64.encode() + b'"], "labels": ["a\\ud800", "b"]}',
    "deep": b"[" * 100_000,
    "deep object": b'{"a":' * 50_000,
    "nan": b'{"images": [], "labels": NaN}',
    "an absurd number": b'{"top_k": 1e999999, "labels": ["a"], "images": []}',
    "a list": b"[]",
    "a string": b'"images"',
    "null": b"null",
    "a BOM": b"\xef\xbb\xbf{}",
}

FIELDS: dict[str, dict[str, Any]] = {
    "no labels": {"images": [B64]},
    "labels null": {"images": [B64], "labels": None},
    "labels empty": {"images": [B64], "labels": []},
    "a label empty": {"images": [B64], "labels": [""]},
    "a label of spaces": {"images": [B64], "labels": ["a", " \t"]},
    "a label twice": {"images": [B64], "labels": ["a", "b", "a"]},
    "labels a string": {"images": [B64], "labels": "a"},
    "a label a number": {"images": [B64], "labels": [1]},
    "1,001 labels": {"images": [B64], "labels": [f"l{i}" for i in range(1001)]},
    "a long label": {"images": [B64], "labels": ["a" * 513]},
    "too many bytes of labels": {"images": [B64], "labels": [f"{i:04}" + "é" * 300 for i in range(200)]},
    "a label of too many tokens": {"images": [B64], "labels": ["word " * 5]},
    "a megabyte of templates": {"images": [B64], "labels": ["a"], "templates": ["{}" * 600_000]},
    "101 templates": {"images": [B64], "labels": ["a"], "templates": [f"{i} {{}}" for i in range(101)]},
    "a template without a slot": {"images": [B64], "labels": ["a"], "templates": ["a photo"]},
    "an attribute in a slot": {"images": [B64], "labels": ["a"], "templates": ["{0.__class__}"]},
    "no images": {"labels": ["a"]},
    "images null": {"images": None, "labels": ["a"]},
    "images a string": {"images": B64, "labels": ["a"]},
    "an image a number": {"images": [5], "labels": ["a"]},
    "33 images": {"images": [B64] * 33, "labels": ["a"]},
    "bad base64": {"images": ["####"], "labels": ["a"]},
    "base64 with a tail": {"images": [B64 + "===="], "labels": ["a"]},
    "a data URI of text": {"images": ["data:text/plain,hello"], "labels": ["a"]},
    "a URL of the cloud's metadata": {"images": ["http://169.254.169.254/latest"], "labels": ["a"]},
    "a file URL": {"images": ["file:///etc/passwd"], "labels": ["a"]},
    "top_k 0": {"images": [B64], "labels": ["a"], "top_k": 0},
    "top_k -1": {"images": [B64], "labels": ["a"], "top_k": -1},
    "top_k a string": {"images": [B64], "labels": ["a"], "top_k": "5"},
    "top_k 1.5": {"images": [B64], "labels": ["a"], "top_k": 1.5},
    "truncate a string": {"images": [B64], "labels": ["a"], "truncate": "yes"},
    "an unknown field": {"images": [B64], "labels": ["a"], "temperature": -1},
    "model a path": {"images": [B64], "labels": ["a"], "model": "../toy"},
    "model encoded": {"images": [B64], "labels": ["a"], "model": "%74oy"},
    "model with NUL": {"images": [B64], "labels": ["a"], "model": "toy\0"},
    "model of 10 KB": {"images": [B64], "labels": ["a"], "model": "t" * 10_000},
    "model in capitals": {"images": [B64], "labels": ["a"], "model": "TOY"},
}

CONTENT_TYPES: dict[str, tuple[str, bytes]] = {
    "none": ("", GOOD),
    "unknown": ("text/plain", GOOD),
    "curl's default": ("application/x-www-form-urlencoded", GOOD),
    "multipart without boundary": ("multipart/form-data", b"x"),
    "multipart never closed": (
        "multipart/form-data; boundary=b",
        b'--b\r\nContent-Disposition: form-data; name="image"',
    ),
    "multipart of garbage": ("multipart/form-data; boundary=b", bytes(1000)),
    "multipart without a name": ("multipart/form-data; boundary=b", b"--b\r\nX: y\r\n\r\nz\r\n--b--\r\n"),
    "multipart nested": (
        "multipart/form-data; boundary=b",
        b"--b\r\nContent-Disposition: form-data; name=image\r\nContent-Type: multipart/mixed; boundary=c\r\n\r\n"
        b"--c\r\n\r\nx\r\n--c--\r\n--b--\r\n",
    ),
    "10,000 parts": (
        "multipart/form-data; boundary=b",
        b"".join(b'--b\r\nContent-Disposition: form-data; name="labels"\r\n\r\nx\r\n' for _ in range(10_000))
        + b"--b--",
    ),
    "gzip": ("image/png", zlib.compress(bytes(1_000_000))),
}


def is_refusal(status: int, body: bytes) -> None:
    assert 400 <= status < 500, body[:300]
    told = json.loads(body)
    assert told["code"] != "internal_error"
    assert len(told["detail"]) < 700
    assert told["status"] == status


@pytest.mark.parametrize("name", IMAGES)
async def test_images(running: Running, name: str) -> None:
    for answer in (await running.classify(IMAGES[name]), await running.embed(IMAGES[name])):
        is_refusal(answer.status_code, answer.content)
    assert (await running.classify(GOOD)).status_code == 200


@pytest.mark.parametrize("name", JSONS)
async def test_json_bodies(running: Running, name: str) -> None:
    for path in ("/classify", "/embed"):
        headers = {"content-type": "application/json"}
        answer = await running.client.post(path, content=JSONS[name], headers=headers)
        is_refusal(answer.status_code, answer.content)
    assert (await running.classify(GOOD)).status_code == 200


@pytest.mark.parametrize("name", FIELDS)
async def test_fields(running: Running, name: str) -> None:
    answer = await running.client.post("/classify", json=FIELDS[name])
    is_refusal(answer.status_code, answer.content)
    assert (await running.classify(GOOD)).status_code == 200


@pytest.mark.parametrize("name", CONTENT_TYPES)
async def test_content_types(running: Running, name: str) -> None:
    content_type, body = CONTENT_TYPES[name]
    headers = {"content-type": content_type} if content_type else {}
    if name == "gzip":
        headers["content-encoding"] = "gzip"
    answer = await running.client.post("/classify?labels=a", content=body, headers=headers)
    is_refusal(answer.status_code, answer.content)
    assert (await running.classify(GOOD)).status_code == 200


@pytest.mark.parametrize("filename", ["../../etc/passwd", "a\0b", "x" * 65_536, "", "photo.exe"])
async def test_file_names_are_not_believed(running: Running, filename: str) -> None:
    answer = await running.client.post("/embed", files={"image": (filename or "x", GOOD, "text/html")})
    if len(filename) < 65_536:
        assert answer.status_code == 200
        assert answer.json()["results"] == (await running.embed(GOOD)).json()["results"]
    else:
        assert answer.status_code in (200, 400)
        assert (await running.embed(GOOD)).status_code == 200


async def test_a_label_may_spell_a_special_token_or_a_format(running: Running) -> None:
    labels = ["<|endoftext|>", "<end>", "{0.__class__}", "%s%n", "'; DROP", "\u202eright"]
    answer = await running.classify(GOOD, labels=labels, truncate="true")
    assert answer.status_code == 200
    assert {entry["label"] for entry in answer.json()["results"][0]["labels"]} == set(labels)


@pytest.mark.parametrize("value", ["5", "1000000000"])
async def test_numbers_in_forms_are_text(running: Running, value: str) -> None:
    assert (await running.classify(GOOD, top_k=value)).status_code == 200


async def test_solid_images_have_finite_vectors(running: Running) -> None:
    for colour in ("black", "white"):
        assert (await running.embed(saved(Image.new("RGB", (64, 64), colour), "PNG"))).status_code == 200


async def test_ten_thousand_text_chunks_cost_little(running: Running) -> None:
    texts = b"".join(chunk(b"tEXt", b"key\0value") for _ in range(10_000))
    at = GOOD.index(b"IDAT") - 4
    answer = await asyncio.wait_for(running.embed(GOOD[:at] + texts + GOOD[at:]), 5)
    assert (answer.status_code, answer.json()["code"]) == (413, "image_too_large")  # over the limit of chunks


async def exchange(running: Running, *parts: bytes, pause: float = 0.0) -> bytes:
    """Raw bytes over a socket, `pause` seconds apart; what comes back until the server closes or 30 s pass."""
    host, port = running.url.removeprefix("http://").split(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    answer = asyncio.create_task(asyncio.wait_for(reader.read(65_536), 30))
    try:
        for part in parts:
            writer.write(part)
            await writer.drain()
            await asyncio.sleep(pause)
    except ConnectionError:
        pass  # the server has answered and closed; what it said is in `answer`
    try:
        return await answer
    except (TimeoutError, ConnectionError):
        return b""
    finally:
        writer.close()


HEAD = b"POST /embed HTTP/1.1\r\nHost: x\r\nContent-Type: image/png\r\n"


@pytest.mark.parametrize(
    ("parts", "status"),
    [
        ([HEAD + b"Content-Length: 30000000\r\n\r\n"], b"413"),
        ([HEAD + b"Content-Length: -5\r\n\r\n"], b"400"),
        ([HEAD + b"Content-Length: 5\r\nContent-Length: 6\r\n\r\n"], b"400"),
        ([HEAD + b"Transfer-Encoding: chunked\r\n\r\n", b"zz\r\n"], b"400"),
        ([HEAD + b"Content-Length: 4\r\n\r\nabcdefgh"], b"4"),
        ([b"\x16\x03\x01 this is TLS"], b"400"),
        ([b"GET /" + b"x" * 100_000 + b" HTTP/1.1\r\nHost: x\r\n\r\n"], b"4"),
        ([HEAD + b"".join(b"X-%d: y\r\n" % i for i in range(1000)) + b"Content-Length: 1\r\n\r\nx"], b"4"),
    ],
)
async def test_raw_http(running: Running, parts: list[bytes], status: bytes) -> None:
    said = await exchange(running, *parts)
    assert said.startswith(b"HTTP/1.1 " + status), said[:200]
    assert (await running.embed(GOOD)).status_code == 200


async def test_an_endless_chunked_body_is_cut_off_at_the_limit(running: Running) -> None:
    piece = b"10000\r\n" + bytes(65_536) + b"\r\n"
    said = await exchange(running, HEAD + b"Transfer-Encoding: chunked\r\n\r\n", *[piece] * 400)
    assert said == b"" or said.startswith(b"HTTP/1.1 413")
    assert (await running.embed(GOOD)).status_code == 200


async def test_the_form_helper_sends_what_curl_sends() -> None:
    assert form([b"x"], {"labels": ["a", "b"], "top_k": 1}) == [
        ("image", ("photo.png", b"x")),
        ("labels", (None, "a")),
        ("labels", (None, "b")),
        ("top_k", (None, "1")),
    ]
