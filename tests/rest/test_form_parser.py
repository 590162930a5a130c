"""Forms taken apart: what a boundary is and what is data, and what the worst of forms cost."""

from __future__ import annotations

import contextlib
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from clipserve.errors import InvalidInput, TooMany
from clipserve.rest.forms import parse_form

TEXT = b'Content-Disposition: form-data; name="a"\r\n\r\n'
FILE = b'content-disposition:form-data; name="b"; filename="f"\r\nContent-Type: image/png\r\n\r\n'
PIECES = [b"--bb", b"--b", b"\r\n", b"\r", b"\n", b"--", b" ", b"x", "é".encode(), TEXT, FILE]
DATA = st.lists(st.sampled_from(PIECES), max_size=6).map(b"".join)


def form(*parts: bytes, last: bytes = b"--bb--\r\n") -> bytes:
    return b"".join(b"--bb\r\n" + part + b"\r\n" for part in parts) + last


@settings(max_examples=100, deadline=None)
@given(st.lists(st.tuples(st.sampled_from([TEXT, FILE]), DATA)))
def test_a_form_is_read_as_it_was_written(parts: list[tuple[bytes, bytes]]) -> None:
    # A boundary on a line of its own would not be data.
    parts = [(head, data) for head, data in parts if b"\r\n--bb" not in data]
    read = parse_form(form(*(head + data for head, data in parts)), "bb")
    assert read == [("a", data.decode()) if head is TEXT else ("b", data) for head, data in parts]


@pytest.mark.parametrize(
    ("disposition", "part"),
    [
        (b'form-data; name="a;b"', ("a;b", "1")),
        (b'form-data; name="a\\"b"', ('a"b', "1")),
        ('form-data; name="é"'.encode(), ("é", "1")),
        (b"form-data; name=\"a\"; filename*=utf-8''f", ("a", "1")),  # RFC 7578 forbids it
    ],
)
def test_a_part_has_the_name_of_its_disposition(disposition: bytes, part: tuple[str, str | bytes]) -> None:
    assert parse_form(form(b"Content-Disposition: " + disposition + b"\r\n\r\n1"), "bb") == [part]


@pytest.mark.parametrize(
    ("body", "why"),
    [
        (b"", "Unexpected end"),
        (form(TEXT + b"cut", last=b""), "Unexpected end"),
        (form(b"\r\nno header"), "Missing Content-Disposition"),
        (form(TEXT.replace(b"name", b"nam") + b"1"), "Missing name"),
        (form(b"X: " + b"y" * 8_192 + b"\r\n" + TEXT), "header length exceeded"),
    ],
)
def test_what_is_no_form_is_refused_with_the_reason(body: bytes, why: str) -> None:
    with pytest.raises(InvalidInput, match=f"the body is not multipart/form-data: .*{why}"):
        parse_form(body, "bb")


def test_who_sets_the_content_type_of_a_form_is_told_to_leave_that_to_the_client() -> None:
    with pytest.raises(InvalidInput, match="Content-Type has no boundary: do not set this header"):
        parse_form(form(TEXT + b"1"), "")


def test_the_headers_of_all_parts_together_are_bounded() -> None:
    # The header's name and value have 1,000 bytes.
    head = b'Content-Disposition: form-data; name="' + b"a" * 963 + b'"\r\n\r\n'
    assert len(parse_form(form(*[head] * 1_000), "bb")) == 1_000
    with pytest.raises(InvalidInput, match="more than 1,000,000 bytes"):
        parse_form(form(*[head] * 1_000, TEXT), "bb")


_HEAD = b"x\r\n--bb\r\nContent-Disposition: form-data"


# What begins, and what comes so many times behind it: the 20 MB are made when their test runs.
@pytest.mark.parametrize(
    ("start", "repeated", "times"),
    [
        (b"", b"\r\n--bb-", 2_900_000),
        (b"x\r\n--bb", b" ", 20_000_000),
        (b"x\r\n--bb\r\n", b"x:\r\n", 5_000_000),
        (b"x\r\n--bb\r\n" + TEXT[:-4], b";", 20_000_000),
        *((b"", _HEAD + b"; name=a" + each * 2_000 + b"\r\n\r\n", 4_000) for each in (b'"', b';a="', b'\\"')),
    ],
    ids=lambda value: str(value)[:12],
)
def test_20_mb_cost_milliseconds_whatever_they_are(start: bytes, repeated: bytes, times: int) -> None:
    body = form(FILE + start + repeated * times)
    began = time.process_time()
    with contextlib.suppress(InvalidInput, TooMany):
        parse_form(body, "bb")
    assert time.process_time() - began < 1, "a tenth of a second at most on an idle machine"
