"""The cleaning of texts, as open_clip does it, in a time that grows with their length and not with its square."""

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


def _of_any_width(pattern: str) -> str:
    """A pattern that also takes the full-width forms of its characters, which ftfy makes plain."""
    return re.sub(r"[&#;\w]", lambda c: f"[{c[0]}{chr(ord(c[0]) + 0xFEE0)}]", pattern)


_NO_PUNCTUATION = str.maketrans("", "", string.punctuation)
_SPACES = str.maketrans("\t\n\r", "   ")
_BLANK_LINES = re.compile(r"\n[\r\n]*\n")
# At most 20 zeros: an entity of more than 24 characters is none to ftfy.
_AMP = "(?:{})".format("|".join(map(_of_any_width, ["amp;", "AMP;", "#@38;", "#x@26;", "#X@26;"]))).replace(
    "@", _of_any_width("0") + "{0,20}"
)
_ESCAPED_AMPERSANDS = re.compile(rf"({_of_any_width('&')})(?:{_AMP})+({_AMP})")
# `int` refuses more digits than these. Any number that long is none of a character.
_ENDLESS_NUMBER = re.compile(r"&#[0-9]{4301,};?")
_SHORT = 256  # characters
# ftfy mends some mojibake one character in a round over the whole line, and takes a tenth of a millisecond for each
# line however short. So of a long text it is given no more lines than these, and mojibake in pieces, which are cut
# before what may begin a character.
_MAX_LINES = 32
_FEW_ODD = 64  # characters
_PIECES = re.compile("(?s).{32,64}(?<=[ -~])(?![ -~])|.{32,64}(?=[\xc2-\xf4]|\\Z)|.{1,64}")
# The only marks that are made of two marks.
_DOUBLE_MARKS = {0xF73: "\u0f71\u0f72", 0xF75: "\u0f71\u0f74", 0xF81: "\u0f71\u0f80"}


def _basic(text: str) -> str:
    """What open_clip's function of this name does (tokenizer.py, basic_clean), but for the kind of white space."""
    if "&" not in text and text.isascii() and (spaced := text.translate(_SPACES)).isprintable():
        return spaced.strip()  # all that the functions below do to such a text, in a fiftieth of the time
    # Short texts go to ftfy as they are: exactly the reference's way, and at most a millisecond or two.
    fixed = ftfy.fix_text(text) if len(text) <= _SHORT else _mended(_shortened(_ordered(text)))
    # Twice, because captions from the web contain "&amp;amp;".
    return _unescape(_unescape(fixed)).strip()


def _shortened(text: str) -> str:
    """A text that ftfy makes the same of, apart from blank lines, in time that is not quadratic.

    ftfy works line by line, and takes one `amp;` off each `&amp;amp;` in a round over the whole line, until nothing
    changes. From the first line with a `<` on it leaves such escapes alone.
    """
    text = _BLANK_LINES.sub("\n", text)
    tag = text.find("<")
    end = len(text) if tag < 0 else text.rfind("\n", 0, tag) + 1
    return _ESCAPED_AMPERSANDS.sub(r"\1\2", text[:end]) + text[end:]


def _ordered(text: str) -> str:
    """The text with its marks (combining characters) in the order that normalization gives them.

    Normalization orders them itself, in time that is quadratic in the length of a run of marks.
    """
    if not text.isprintable():  # what ftfy removes may part a run
        text = remove_control_chars(remove_terminal_escapes(text))
    if unicodedata.is_normalized("NFC", text):
        return text
    runs = groupby(text.translate(_DOUBLE_MARKS), lambda c: unicodedata.combining(c) > 0)
    return "".join("".join(sorted(run, key=unicodedata.combining)) for _, run in runs)


def _mended(text: str) -> str:
    """What ftfy makes of a long text, in time that is not quadratic."""
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
    """Whether ftfy would mend the encoding of much of it."""
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


# TextSpec.cleaning -> what open_clip's function of the same name does.
CLEANING: dict[str, Callable[[str], str]] = {
    "lower": lambda text: _squeeze(_basic(text)).lower(),
    "whitespace": lambda text: _squeeze(_basic(text)),
    "canonicalize": lambda text: _squeeze(_basic(text).replace("_", " ").translate(_NO_PUNCTUATION).lower()),
    "none": lambda text: text,
}
