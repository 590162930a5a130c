"""Cleans texts as open_clip does, in linear instead of quadratic time."""

from __future__ import annotations

import html
import re
import string
import unicodedata
from collections.abc import Callable
from itertools import groupby

import ftfy
from ftfy.badness import is_bad
from ftfy.fixes import remove_control_chars, remove_terminal_escapes
from tokenizers import normalizers


def _of_any_width(pattern: str) -> str:
    """A pattern that also matches the full-width forms of its characters, which ftfy replaces."""
    return re.sub(r"[&#;\w]", lambda c: f"[{c[0]}{chr(ord(c[0]) + 0xFEE0)}]", pattern)


_NO_PUNCTUATION = str.maketrans("", "", string.punctuation)
_SPACES = str.maketrans("\t\n\r", "   ")
_BLANK_LINES = re.compile(r"\n[\r\n]*\n")
# At most 20 zeros: ftfy ignores entities of more than 24 characters.
_AMP = "(?:{})".format("|".join(map(_of_any_width, ["amp;", "AMP;", "#@38;", "#x@26;", "#X@26;"]))).replace(
    "@", _of_any_width("0") + "{0,20}"
)
_ESCAPED_AMPERSANDS = re.compile(rf"({_of_any_width('&')})(?:{_AMP})+({_AMP})")
# `int` refuses more digits than these, and no character has a number so long.
_ENDLESS_NUMBER = re.compile(r"&#[0-9]{4301,};?")
_SHORT = 256  # characters
# ftfy fixes some mojibake one character a pass over the whole line, and takes at least a tenth of a millisecond a
# line. So of a long text it gets at most so many lines, and mojibake in pieces, which are cut before a byte that
# may begin a character.
_MAX_LINES = 32
_FEW_ODD = 64  # characters
_PIECES = re.compile("(?s).{32,64}(?<=[ -~])(?![ -~])|.{32,64}(?=[\xc2-\xf4]|\\Z)|.{1,64}")
# The only marks that decompose into two marks.
_DOUBLE_MARKS = {0xF73: "\u0f71\u0f72", 0xF75: "\u0f71\u0f74", 0xF81: "\u0f71\u0f80"}


def _basic(text: str) -> str:
    """Like open_clip's function of this name (tokenizer.py, basic_clean), except the kind of white space."""
    if "&" not in text and text.isascii() and (spaced := text.translate(_SPACES)).isprintable():
        return spaced.strip()  # the same result as below for such a text, in a fiftieth of the time
    # ftfy gets short texts unchanged, as in the reference: at most a millisecond or two.
    fixed = ftfy.fix_text(text) if len(text) <= _SHORT else _mended(_shortened(_ordered(text)))
    # Twice, because captions from the web contain "&amp;amp;".
    return _unescape(_unescape(fixed)).strip()


def _shortened(text: str) -> str:
    """A text with the same result of ftfy, apart from blank lines, but in linear time.

    ftfy works line by line, and removes one `amp;` of each `&amp;amp;` a pass over the whole line, until nothing
    changes. It leaves such escapes alone from the first line with a `<`.
    """
    text = _BLANK_LINES.sub("\n", text)
    tag = text.find("<")
    end = len(text) if tag < 0 else text.rfind("\n", 0, tag) + 1
    return _ESCAPED_AMPERSANDS.sub(r"\1\2", text[:end]) + text[end:]


def _ordered(text: str) -> str:
    """The text with its combining characters in the order of Unicode normalization.

    Normalization itself sorts a run of them in quadratic time.
    """
    if not text.isprintable():  # characters that ftfy removes may split a run
        text = remove_control_chars(remove_terminal_escapes(text))
    if unicodedata.is_normalized("NFC", text):
        return text
    runs = groupby(text.translate(_DOUBLE_MARKS), lambda c: unicodedata.combining(c) > 0)
    return "".join("".join(sorted(run, key=unicodedata.combining)) for _, run in runs)


def _mended(text: str) -> str:
    """The result of ftfy for a long text, in linear time."""
    if text.count("\n") > _MAX_LINES:
        text = text.replace("\n", " ")
    fixed = []
    escapes = True
    for line in text.split("\n"):
        escapes = escapes and "<" not in line  # as ftfy has it
        pieces = _PIECES.findall(line) if _is_mojibake(line) else [line]
        fixed.append("".join(ftfy.fix_text(piece, unescape_html=escapes) for piece in pieces))
    return "\n".join(fixed)


def _is_mojibake(line: str) -> bool:
    """Whether ftfy would change the encoding of much of the line."""
    odd = len(line) - len(line.encode("ascii", "ignore")) + line.count("&")
    if odd <= _FEW_ODD:
        return False
    if is_bad(line):
        return True
    hidden = "&" in line or "\uff06" in line or not unicodedata.is_normalized("NFC", line)
    return hidden and is_bad(ftfy.fix_text(line, fix_encoding=False))


def _unescape(text: str) -> str:
    return html.unescape(_ENDLESS_NUMBER.sub("\ufffd", text))


def _squeeze(text: str) -> str:
    return " ".join(text.split())


# TextSpec.cleaning -> the equivalent of open_clip's function of that name, but for the last two, of transformers.
CLEANING: dict[str, Callable[[str], str]] = {
    "lower": lambda text: _squeeze(_basic(text)).lower(),
    "whitespace": lambda text: _squeeze(_basic(text)),
    "canonicalize": lambda text: _squeeze(_basic(text).replace("_", " ").translate(_NO_PUNCTUATION).lower()),
    # Not `str.lower`: it looks at a sigma's neighbours, and older Pythons know fewer capitals.
    "lowercase": normalizers.Lowercase().normalize_str,
    "none": lambda text: text,
}
