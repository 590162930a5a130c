"""Cleaning, truncation and padding; that the ids are the reference's is in tests/models."""

from __future__ import annotations

import html
import time
from pathlib import Path

import ftfy
import numpy as np
import pytest
import tokenizers
from hypothesis import given, settings
from hypothesis import strategies as st

from clipserve.clip.cleaning import CLEANING
from clipserve.clip.tokenizer import Tokenizer, load_tokenizer
from clipserve.errors import InvalidInput, TextTooLong
from tests.support.service import CONTEXT, EOT, TEXT, toy_tokenizer

TOKENIZER = Tokenizer(TEXT, toy_tokenizer())


@settings(max_examples=200, deadline=None)
@given(st.one_of(st.text(st.characters(min_codepoint=0, max_codepoint=127)), st.text()))
def test_cleaning_is_open_clip_s_on_any_text(text: str) -> None:
    basic = html.unescape(html.unescape(ftfy.fix_text(text))).strip()
    assert CLEANING["lower"](text) == " ".join(basic.split()).strip().lower()
    assert CLEANING["whitespace"](text) == " ".join(basic.split()).strip()


# What escapes and lines are made of, so that they often come together.
WIDE = "\uff06\uff41\uff4d\uff50\uff1b"  # full-width "&amp;", which ftfy makes plain
ESCAPES = "& amp; AMP; amp #38; #x26; #X26; #0038; #60; lt; < ; &amp; &lt;"
SPACES = ["\n", "\r", "\r\n", "\t", "\x0b", "\x0c", "\x1f", "\x85", "\u2028", "\xa0", " ", "&#10;"]
PIECES = st.sampled_from(
    [*ESCAPES.split(), f"#{'0' * 23}38;", WIDE, WIDE[1:], *SPACES, "a", "é", "Ã", "©", "“"]
)


@settings(max_examples=400, deadline=None)
@given(st.lists(PIECES, max_size=14).map("".join))
def test_cleaning_is_open_clip_s_on_escapes_within_escapes_and_on_lines(text: str) -> None:
    basic = html.unescape(html.unescape(ftfy.fix_text(text)))
    assert CLEANING["whitespace"](text) == " ".join(basic.split())


# Mojibake that is mended one character in a round; lines that ftfy takes long for; marks that normalization sorts.
MOJIBAKE = [
    "\xc3\u0192\xc3\u201a\xa9",
    "\xc2\xc2\xc2\xc2\xc2\u02dc\xe9",
    "\xc3 &\xed\xac\xc6",
    "&Atilde;\u0192&Atilde;\u201a&copy;",
]
LINES = ["\xe9\x80 '\n", "\x85\n\xd2\xc3 \xb8\xc3 \u010f"]
MARKS = ["\u0316\u0301", "\u0316\x01\u0301\x01", "\u0316\x1b[0m\u0301\x1b[0m", "\u0f73", "\u0f81\u0f73"]


@pytest.mark.parametrize(
    "piece",
    [
        *("amp;", "AMP;", "#38;", "#x26;", "amp;#38;", "\n", "\r\n", "\r", "a\n", "&amp;amp;", WIDE[1:]),
        *MOJIBAKE,
        *LINES,
        *MARKS,
    ],
)
def test_cleaning_a_text_of_8_kb_takes_milliseconds_whatever_it_repeats(piece: str) -> None:
    text = "&" * piece.endswith((";", WIDE[-1])) + piece * (8_190 // len(piece))
    began = time.process_time()
    CLEANING["lower"](text)
    assert time.process_time() - began < 1, "a tenth of a second at most on an idle machine"


@pytest.mark.parametrize(
    ("encoding", "text"),
    [
        ("latin-1", "Où est passé le café de l'été déjà fermé ? "),
        ("windows-1252", "größer, schöner: Füße für Bären. "),
        ("cp437", "Où est passé le café de l'été déjà fermé ? "),
        ("latin-1", "一只猫坐在红色的沙发上"),
    ],
)
def test_a_long_text_of_mojibake_is_mended_as_the_reference_does_it(encoding: str, text: str) -> None:
    for repeats in range(10, 40):
        broken = (text * repeats).encode().decode(encoding)
        basic = html.unescape(html.unescape(ftfy.fix_text(broken)))
        assert CLEANING["whitespace"](broken) == " ".join(basic.split())


@pytest.mark.parametrize(
    "text",
    ["a\u0316\u0301", "\u0f73", "שָׁלוֹם ", "กี่ปี ", "é\u0323\x01\u0300 ", "Zalgo\u0335\u0321\u0301 "],
)
def test_marks_of_a_long_text_come_in_the_order_of_the_reference(text: str) -> None:
    basic = html.unescape(html.unescape(ftfy.fix_text(text * 200)))
    assert CLEANING["whitespace"](text * 200) == " ".join(basic.split())


def test_a_number_too_long_for_a_character_is_replaced_however_long_it_is() -> None:
    for number in ("9" * 100, "9" * 5_000, "0" * 9_000):
        assert CLEANING["lower"](f"a &#{number}; b") == "a \ufffd b"


def test_canonical_cleaning_drops_punctuation() -> None:
    assert CLEANING["canonicalize"]("  A_photo, of: (two) CATS! &amp; dogs ") == "a photo of two cats dogs"
    assert CLEANING["none"](" As It Is ") == " As It Is "
    lowered = tokenizers.normalizers.Lowercase()
    for text in (" As  It &amp; Is! ", "\u039f\u0394\u039f\u03a3 \u0130I \u1e9e", "\U0001f408 \U00010d4a"):
        assert CLEANING["lowercase"](text) == lowered.normalize_str(text)


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
    with pytest.raises(InvalidInput, match="text 200 is not valid Unicode") as caught:
        uncleaned.encode([*["a"] * 200, "a\ud800"])
    assert caught.value.index == 200


def test_padding_and_truncation_of_the_file_are_not_those_of_the_service(tmp_path: Path) -> None:
    encoder = toy_tokenizer()
    encoder.enable_padding(length=CONTEXT)
    encoder.enable_truncation(3)
    encoder.save(str(tmp_path / "tokenizer.json"))
    (row,) = load_tokenizer(tmp_path, TEXT).encode(["ab"])
    assert row.ids == [1, ord("a"), ord("b"), EOT]
