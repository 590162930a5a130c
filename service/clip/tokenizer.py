"""Text -> token ids and lengths, exactly as the model's reference tokenizer makes them."""

from __future__ import annotations

import html
import re
import string
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import ftfy
import numpy as np
import numpy.typing as npt
import tokenizers

from service.clip.artifact import TOKENIZER, ArtifactError, read_bounded
from service.clip.manifest import TextSpec
from service.errors import InvalidInput, TextTooLong


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
# Encodings hold a hundred bytes a token, the ids that are kept a few: texts are encoded so many at a time.
_SLICE = 64
_MAX_FILE_BYTES = 100_000_000  # a large multilingual tokenizer.json has 35 million


def _basic(text: str) -> str:
    """What open_clip's function of this name does (tokenizer.py, basic_clean), but for the kind of white space."""
    if "&" not in text and text.isascii() and (spaced := text.translate(_SPACES)).isprintable():
        return spaced.strip()  # all that the functions below do to such a text, in a fiftieth of the time
    # Short texts go to ftfy as they are: exactly the reference's way, and at most a millisecond or two.
    fixed = ftfy.fix_text(text if len(text) <= _SHORT else _shortened(text))
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


@dataclass(frozen=True)
class TokenizedText:
    """One text. `tokens` counts what the text has, special tokens included, before any truncation."""

    ids: list[int]
    tokens: int

    @property
    def truncated(self) -> bool:
        return self.tokens > len(self.ids)


class Tokenizer:
    """The reference's cleaning of texts, then the artifact's tokenizer.json."""

    def __init__(self, spec: TextSpec, encoder: tokenizers.Tokenizer) -> None:
        self._spec = spec
        self._encoder = encoder
        self._clean = CLEANING[spec.cleaning]

    def encode(self, texts: Sequence[str], *, truncate: bool = False) -> list[TokenizedText]:
        """Token ids of each text, special tokens included, not padded.

        A text longer than the context length keeps its first tokens and its end-of-text token if `truncate`.

        Raises:
            TextTooLong: a text has more tokens than the context length, and not `truncate`; names its index.
            InvalidInput: a text is not valid Unicode (a lone surrogate).
        """
        result: list[TokenizedText] = []
        for start in range(0, len(texts), _SLICE):
            encodings = self._encode_all(texts[start : start + _SLICE], start)
            result.extend(self._fitted(e.ids, start + i, truncate) for i, e in enumerate(encodings))
        return result

    def _fitted(self, ids: list[int], index: int, truncate: bool) -> TokenizedText:
        limit = self._spec.context_length
        count = len(ids)
        if count > limit:
            if not truncate:
                raise TextTooLong(
                    f"text {index} has {count} tokens, special tokens included; the limit is {limit}. "
                    "Shorten it, or set truncate.",
                    limit=limit,
                    actual=count,
                    index=index,
                )
            eot = self._spec.eot_id
            ids = ids[:limit] if eot is None else [*ids[: limit - 1], eot]
        return TokenizedText(ids, count)

    def _encode_all(self, texts: Sequence[str], start: int) -> list[tokenizers.Encoding]:
        """`start`: the index of the first one in the request."""
        try:
            return self._encoder.encode_batch_fast([self._clean(text) for text in texts])
        except TypeError:  # what the library says of a str that is not UTF-8
            bad = start + next(i for i, text in enumerate(texts) if not _is_unicode(text))
            raise InvalidInput(
                f"text {bad} is not valid Unicode: it holds a lone surrogate.", index=bad
            ) from None

    def pad(
        self, rows: Sequence[TokenizedText], length: int
    ) -> tuple[npt.NDArray[np.int32], npt.NDArray[np.int32]]:
        """Rows of at most `length` tokens -> token ids int32 [N, length] and lengths int32 [N].

        A row's length ends at its first end-of-text token: that is where the reference pools, also when a
        caller's text spells the token out.
        """
        token_ids = np.full((len(rows), length), self._spec.pad_id, np.int32)  # [N, L]
        lengths = np.empty(len(rows), np.int32)  # [N]
        for i, row in enumerate(rows):
            token_ids[i, : len(row.ids)] = row.ids
            eot = self._spec.eot_id
            lengths[i] = row.ids.index(eot) + 1 if eot in row.ids else len(row.ids)
        return token_ids, lengths


def _is_unicode(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def load_tokenizer(folder: Path, spec: TextSpec) -> Tokenizer:
    """The tokenizer of the artifact in `folder`.

    Raises:
        ArtifactError: tokenizer.json is missing or malformed.
    """
    path = folder / TOKENIZER
    try:
        encoder = tokenizers.Tokenizer.from_buffer(read_bounded(path, _MAX_FILE_BYTES))
        encoder.encode("a \u0378")  # to meet now what would fail at a text of unknown characters
    except OSError as error:
        raise ArtifactError(f"{path} cannot be read: {error.strerror}") from None
    except Exception as error:  # the library raises no other
        raise ArtifactError(f"{path} is not a tokenizer: {error}") from None
    encoder.no_padding()
    encoder.no_truncation()
    return Tokenizer(spec, encoder)
