"""Lines of JSON: where they end, and what is wrong with one."""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clipserve.errors import BodyTooLarge, ClipError, ImageNotFetched, InvalidInput, UndecodableImage
from clipserve.rest.lines import Splitter, parse_line

B64 = base64.b64encode(b"\x89PNG").decode()


@given(st.lists(st.binary(max_size=20).filter(lambda line: b"\n" not in line)), st.integers(1, 7))
def test_lines_are_the_same_however_the_bytes_come(lines: list[bytes], step: int) -> None:
    data, splitter = b"\n".join(lines), Splitter(1_000)
    found: list[bytes] = []
    for start in range(0, len(data), step):
        found += splitter.feed(data[start : start + step])
    assert [*found, splitter.rest()] == (lines or [b""])


def test_a_line_over_the_limit_is_refused_before_its_end_has_come() -> None:
    splitter = Splitter(10)
    assert list(splitter.feed(b"0123456789\n01234")) == [b"0123456789"]
    with pytest.raises(BodyTooLarge) as refused:
        list(splitter.feed(b"567890"))
    assert (refused.value.limit, refused.value.actual) == (10, 11)


@pytest.mark.parametrize(
    ("line", "item", "caller_id"),
    [
        ({"text": "a cat"}, "a cat", None),
        ({"id": 7, "image": B64}, b"\x89PNG", 7),
        ({"id": "x", "image": f"data:image/png;base64,{B64}"}, b"\x89PNG", "x"),
    ],
)
def test_a_line_is_an_image_or_a_text_with_the_caller_s_id(
    line: dict[str, Any], item: str | bytes, caller_id: str | int | None
) -> None:
    parsed = parse_line(3, json.dumps(line).encode())
    assert (parsed.index, parsed.id, parsed.item) == (3, caller_id, item)


@pytest.mark.parametrize(
    ("line", "kind", "said"),
    [
        (b"{", InvalidInput, "not JSON"),
        (b"[]", InvalidInput, "not a JSON object"),
        (b"{}", InvalidInput, "either a text or an image"),
        (b'{"text": "a", "image": "b"}', InvalidInput, "either a text or an image"),
        (b'{"texts": ["a"]}', InvalidInput, "either a text or an image"),
        (b'{"text": 1}', InvalidInput, "text: must be a string"),
        (b'{"id": 1.5, "text": "a"}', InvalidInput, "id: must be"),
        (b'{"id": true, "text": "a"}', InvalidInput, "id: must be"),
        (b'{"id": "%b", "text": "a"}' % (b"x" * 257), InvalidInput, "id: must be"),
        (b'{"image": "!"}', UndecodableImage, "not valid base64"),
        (b'{"image": "file:///a.jpg"}', ImageNotFetched, "URLs are not fetched"),
        (b'{"text": [%b1]}' % (b"1," * 40_000), InvalidInput, "more than an image or a text"),
    ],
)
def test_what_is_wrong_with_a_line_is_its_item(line: bytes, kind: type[ClipError], said: str) -> None:
    item = parse_line(3, line).item
    assert type(item) is kind
    assert said in item.detail
    assert item.index == 3


def test_the_id_of_a_line_that_is_wrong_is_kept() -> None:
    assert parse_line(0, b'{"id": "mine", "text": 1}').id == "mine"
