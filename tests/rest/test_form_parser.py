"""Forms taken apart: what a boundary is and what is data, and what the worst of forms cost."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncGenerator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from starlette.datastructures import Headers
from starlette.formparsers import MultiPartParser

from clipserve.errors import InvalidInput, TooMany
from clipserve.rest.forms import MAX_PARTS, Part, parse_form

TEXT = b'Content-Disposition: form-data; name="a"\r\n\r\n'
FILE = b'content-disposition:form-data; name="b"; filename="f"\r\nContent-Type: image/png\r\n\r\n'
PIECES = [
    b"--bb",
    b"--b",
    b"\r\n",
    b"\r\n",
    b"\r",
    b"\n",
    b"--",
    b"-",
    b" ",
    b"\t",
    b"x",
    "é".encode(),
    TEXT,
    FILE,
]

DATA = st.lists(st.sampled_from(PIECES), max_size=6).map(b"".join)


def starlettes(body: bytes) -> list[Part]:
    async def read() -> list[Part]:
        async def stream() -> AsyncGenerator[bytes, None]:
            yield body

        headers = Headers({"content-type": "multipart/form-data; boundary=bb"})
        form = await MultiPartParser(headers, stream()).parse()
        items = form.multi_items()
        parts = [Part(name, v if isinstance(v, str) else await v.read()) for name, v in items]
        await form.close()
        return parts

    return asyncio.run(read())


def form(*parts: bytes, last: bytes = b"--bb--\r\n") -> bytes:
    return b"".join(b"--bb\r\n" + part + b"\r\n" for part in parts) + last


@settings(max_examples=300, deadline=None)
@given(
    st.lists(
        st.tuples(st.sampled_from([TEXT, FILE]), st.lists(st.sampled_from(PIECES), max_size=6).map(b"".join))
    )
)
def test_a_form_is_read_as_starlette_reads_it(parts: list[tuple[bytes, bytes]]) -> None:
    # A boundary on a line of its own would not be data.
    body = form(*(head + data for head, data in parts if b"\n--bb" not in b"\n" + data))
    assert parse_form(body, b"bb") == starlettes(body)


@pytest.mark.parametrize("before", [b"", b"\r\n", b"\n", b"a preamble\r\n", b"--bbx\r\n", b"x--bb\r\n"])
@pytest.mark.parametrize("after", [b"", b"\r\n", b"\r\nan epilogue --bb\r\n--bb"])
def test_text_before_and_after_the_parts_is_not_read(before: bytes, after: bytes) -> None:
    body = before + form(TEXT + b"1", FILE + b"\r\n--bbx\r\n--bb-x\r\n", last=b"--bb--") + after
    assert parse_form(body, b"bb") == [Part("a", "1"), Part("b", b"\r\n--bbx\r\n--bb-x\r\n")]


def test_white_space_may_follow_a_boundary() -> None:
    body = b"--bb \r\n" + TEXT + b"1\r\n--bb" + b"\t" * 200 + b"\r\n" + TEXT + b"2\r\n--bb--"
    assert parse_form(body, b"bb") == [Part("a", "1"), Part("a", "2")]


@pytest.mark.parametrize(
    ("body", "why"),
    [
        (b"", "no boundary at its end"),
        (b"hello", "no boundary at its end"),
        (form(TEXT + b"cut", last=b""), "no boundary at its end"),
        (form(TEXT + b"cut", last=b"--bb\r\n"), "no boundary at its end"),
        (form(b"\r\nno header"), "no empty line after its headers"),
        (form(b"X: y\r\n\r\nno name"), "a part has no name"),
        (form(TEXT.replace(b"name", b"nam") + b"1"), "a part has no name"),
        (form(b"X: " + b"y" * 8_192 + b"\r\n" + TEXT), "more than 8,192 bytes"),
        (form(TEXT.replace(b'"a"', b'"a"' + b"; b" * 32)), "more than 32 parameters"),
    ],
)
def test_what_is_no_form_is_refused_with_the_reason(body: bytes, why: str) -> None:
    with pytest.raises(InvalidInput, match=f"the body is not multipart/form-data: .*{why}"):
        parse_form(body, b"bb")


@pytest.mark.parametrize("boundary", [b"", b"b" * 257])
def test_a_boundary_has_1_to_256_bytes(boundary: bytes) -> None:
    with pytest.raises(InvalidInput, match="not 1 to 256"):
        parse_form(form(TEXT), boundary)


@pytest.mark.parametrize(
    "data",
    [
        b"\r\n--bbX" * 2_900_000,
        b"\r\n--bb-" * 2_900_000,
        b"\r\n--b" * 4_000_000,
        b"\r\n" * 10_000_000,
        b"x\r\n--bb" + b" " * 20_000_000,
        b"x\r\n--bb\r\n" + b"x" * 20_000_000,
        b"x\r\n--bb\r\n" + TEXT[:-4] + b";" * 20_000_000,
        (b"x\r\n--bb\r\n" + TEXT[:-5] + b";" * 4_000 + b'"\r\n\r\n') * 4_000,
    ],
)
def test_20_mb_cost_milliseconds_whatever_they_are(data: bytes) -> None:
    body = form(FILE + data)
    began = time.process_time()
    with contextlib.suppress(InvalidInput, TooMany):
        parse_form(body, b"bb")
    assert time.process_time() - began < 1, "a tenth of a second at most on an idle machine"


def test_what_is_nearly_a_boundary_counts_as_one() -> None:
    assert parse_form(form(FILE + b"\r\n--bbx" * MAX_PARTS), b"bb")[0].data == b"\r\n--bbx" * MAX_PARTS
    with pytest.raises(TooMany):
        parse_form(form(FILE + b"\r\n--bbx" * (MAX_PARTS + 1)), b"bb")
