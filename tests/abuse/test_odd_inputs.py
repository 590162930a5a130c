"""Inputs that nobody would think of: each is served, or refused with a code, at a bounded cost.

FUZZ=20000 tries as many of each kind, and others each time. What it finds goes into corpus/found, and stays there.
Requests made of the OpenAPI document, right and wrong ones, are schemathesis's: tests/rest/test_openapi.py.
"""

from __future__ import annotations

import asyncio
import os
import re
import resource
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from random import Random

import pytest
import tokenizers
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from clipserve.clip.artifact import TOKENIZER, read_manifest
from clipserve.clip.formats import FORMATS, OPTIONAL
from clipserve.clip.images import ImageLimits, decode_pixels, read_header
from clipserve.clip.manifest import ImageSpec
from clipserve.clip.tokenizer import Tokenizer
from clipserve.connections import ConnectionLimits
from clipserve.demo import FOLDER as DEMO
from clipserve.errors import ClipError
from clipserve.wiring.use_cases import Limits
from tests.abuse.cases import CORPUS, edited, images, texts
from tests.rest.wire import Echo, fed, protocol_of

FUZZ = int(os.environ.get("FUZZ", "0"))
FOUND = sorted((CORPUS / "found" / "images").iterdir())
MOST_SECONDS = 4.0  # of CPU; a file of 50 megapixels takes half of it
SPARE_BYTES = 32_000_000  # malloc's
SPEC = ImageSpec(size=32)
many = settings(
    max_examples=FUZZ or 100,
    derandomize=not FUZZ,
    database=None,
    deadline=None,
    suppress_health_check=list(HealthCheck),
)


@contextmanager
def bounded() -> Iterator[None]:
    started = time.process_time()
    yield
    assert time.process_time() - started < MOST_SECONDS


def peak() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def decoded(data: bytes, formats: tuple[str, ...]) -> str:
    """What comes of a file: it takes the memory that its header says, and no more."""
    limits = ImageLimits(image_formats=formats)
    try:
        header = read_header(data, SPEC, limits)
        if header.decode_bytes > Limits.decode_memory_bytes:
            return "over the budget"
        before = peak()
        shape = decode_pixels(data, SPEC, limits).shape
    except ClipError as error:
        return error.code
    assert peak() - before <= header.decode_bytes + SPARE_BYTES
    assert shape == (32, 32, 3)
    return "decoded"


USUAL = ImageLimits.image_formats
OTHERS = tuple(name for name in (*FORMATS, *OPTIONAL) if name not in USUAL)


@pytest.mark.parametrize(("folder", "formats"), [("images", USUAL), ("formats", OTHERS)])
def test_an_image_is_decoded_within_what_its_header_says_or_refused(
    folder: str, formats: tuple[str, ...]
) -> None:
    said = Counter[str]()

    @many
    @given(images(folder))
    def run(data: bytes) -> None:
        with bounded():
            said[decoded(data, formats)] += 1

    run()
    assert {"decoded", "undecodable_image"} <= said.keys()


@pytest.mark.parametrize("path", FOUND, ids=lambda path: path.name)
def test_what_was_found_once_is_no_finding_now(path: Path) -> None:
    with bounded():
        decoded(path.read_bytes(), USUAL)


@pytest.mark.parametrize("cleaning", ["lower", "canonicalize", "none"])
def test_a_text_has_ids_of_one_row_or_is_refused(cleaning: str) -> None:
    encoder = tokenizers.Tokenizer.from_file(str(DEMO / TOKENIZER))
    encoder.no_padding()
    encoder.no_truncation()
    spec = read_manifest(DEMO).text.model_copy(update={"cleaning": cleaning})
    tokenizer = Tokenizer(spec, encoder)

    @many
    @given(texts(8_192))
    def run(text: str) -> None:
        try:
            with bounded():
                row = tokenizer.encode([text], truncate=True)[0]
        except ClipError:
            return
        assert 1 <= len(row.ids) <= spec.context_length
        assert row.tokens >= len(row.ids)

    run()


_HEAD = b"POST /embed?a=%61 HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\n"
WIRE_SEEDS = (
    _HEAD + b'Content-Length: 16\r\n\r\n{"texts": ["a"]}',
    _HEAD
    + b"Content-Length: 3\r\nExpect: 100-continue\r\nConnection: close\r\n\r\nabcGET / HTTP/1.1\r\n\r\n",
    _HEAD + b"Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n5;ext=1\r\ndefgh\r\n0\r\nTrailer: x\r\n\r\n",
    b"GET /livez HTTP/1.1\r\nHost: a\r\n\r\nGET /readyz HTTP/1.0\r\n\r\n",
    b"\r\n\r\nGET http://a/livez?x#y HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n\r\nabc",
)
# Separated by bars.
WIRE_WORDS = (
    b"\r\n|\n|\r|\r\n\r\n|\n\n|:| |\t|;|0\r\n\r\n|\x00|\xff|Content-Length: 1\r\n|Content-Length: 0\r\n|"
    b"-1|+1|0x|18446744073709551616|Transfer-Encoding: chunked\r\n|chunked|gzip|, chunked|identity|"
    b"Connection: close\r\n|Upgrade: websocket\r\n|GET |CONNECT |PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n|HTTP/1.0|"
    b" HTTP/9.9|ffffffff|%00|#|fffffffffffffffff|1\r\na\r\n|1;a\r\n|0\r\n|a: b\r\n| folded\r\n"
).split(b"|")
WIRE_LIMITS = ConnectionLimits(max_connections=4, keep_alive_seconds=60, max_header_bytes=8_192)


async def read(pieces: list[bytes]) -> tuple[object, ...]:
    """The first request that the application got; without one the code of the refusal."""
    app = Echo()
    protocol = protocol_of(app, WIRE_LIMITS)
    line = await fed(protocol, *pieces)
    protocol.connection_lost(None)
    if app.asked:
        scope, body = app.asked[0]
        return scope["method"], scope["raw_path"], scope["query_string"], tuple(scope["headers"]), body
    found = re.search(rb'"code":"([a-z_]+)"', line.written)
    return (found[1],) if found else ()


@many
@given(edited(WIRE_SEEDS, WIRE_WORDS), st.randoms())
def test_in_whatever_pieces_bytes_come_they_are_the_same_request_or_refused(
    case: bytes, random: Random
) -> None:
    pieces, at = [], 0
    longest = random.choice((7, 60, 4_000)) if len(case) > 500 else 1
    while at < len(case):
        size = random.randint(1, longest)
        pieces.append(case[at : at + size])
        at += size
    whole, parts = asyncio.run(read([case])), asyncio.run(read(pieces))
    assert whole == parts or b"headers_too_large" in (*whole[:1], *parts[:1])
