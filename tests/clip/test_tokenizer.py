"""Cleaning, truncation and padding; that the ids are the reference's is in tests/models."""

from __future__ import annotations

import html

import ftfy
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from service.clip.tokenizer import CLEANING, Tokenizer
from service.errors import InvalidInput, TextTooLong
from tests.support import CONTEXT, EOT, TEXT, toy_tokenizer

TOKENIZER = Tokenizer(TEXT, toy_tokenizer())


@settings(max_examples=500, deadline=None)
@given(st.one_of(st.text(st.characters(min_codepoint=0, max_codepoint=127)), st.text()))
def test_cleaning_is_open_clip_s_on_any_text(text: str) -> None:
    basic = html.unescape(html.unescape(ftfy.fix_text(text))).strip()
    assert CLEANING["lower"](text) == " ".join(basic.split()).strip().lower()
    assert CLEANING["whitespace"](text) == " ".join(basic.split()).strip()


def test_canonical_cleaning_drops_punctuation() -> None:
    assert CLEANING["canonicalize"]("  A_photo, of: (two) CATS! &amp; dogs ") == "a photo of two cats dogs"
    assert CLEANING["none"](" As It Is ") == " As It Is "


def test_a_text_of_exactly_the_context_length_fits() -> None:
    (fits,) = TOKENIZER.encode(["x" * (CONTEXT - 2)])
    assert (fits.tokens, fits.truncated, len(fits.ids)) == (CONTEXT, False, CONTEXT)


def test_one_token_more_is_an_error_that_names_index_limit_and_count() -> None:
    with pytest.raises(TextTooLong, match="text 1 has 13 tokens") as caught:
        TOKENIZER.encode(["x", "x" * (CONTEXT - 1)])
    assert (caught.value.index, caught.value.limit, caught.value.actual) == (1, CONTEXT, CONTEXT + 1)


def test_truncation_keeps_the_end_of_text_token() -> None:
    (cut,) = TOKENIZER.encode(["abcdefghijklmnop"], truncate=True)
    assert (len(cut.ids), cut.ids[-1], cut.truncated, cut.tokens) == (CONTEXT, EOT, True, 18)


def test_padding_fills_behind_the_length() -> None:
    ids, lengths = TOKENIZER.pad(TOKENIZER.encode(["ab", "abcd"]), 8)
    assert lengths.tolist() == [4, 6]
    assert ids.dtype == lengths.dtype == np.int32
    assert ids[0].tolist() == [1, ord("a"), ord("b"), EOT, 0, 0, 0, 0]


def test_the_length_ends_at_the_first_end_of_text_even_if_a_caller_wrote_it() -> None:
    (row,) = TOKENIZER.encode(["ab"])
    row.ids.insert(2, EOT)
    assert TOKENIZER.pad([row], 8)[1].tolist() == [3]


def test_a_lone_surrogate_is_replaced_by_the_reference_s_cleaning_or_named_without_it() -> None:
    assert TOKENIZER.encode(["a\ud800"]) == TOKENIZER.encode(["a\ufffd"])
    uncleaned = Tokenizer(TEXT.model_copy(update={"cleaning": "none"}), toy_tokenizer())
    with pytest.raises(InvalidInput, match="text 2 is not valid Unicode") as caught:
        uncleaned.encode(["a", "é", "a\ud800"])
    assert caught.value.index == 2
