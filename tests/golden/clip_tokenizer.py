"""open_clip's SimpleTokenizer -> `tokenizer.json`, the format that the service reads, for `make_tokens`.

The ids equal those of the original on every string, once `clipserve.clip.tokenizer` has cleaned the text. It
differs from a plain conversion in three ways:

- The original splits words with Python's `regex` module, the json with Oniguruma. The two know different
  versions of Unicode (17,000 letters apart, as of regex 2026.11 and tokenizers 0.23), so letters, numbers and
  the rest are spelled out as the ranges that `regex` knows.
- The original ignores case: U+017F, the long s, is an "s" in "'s", and lower() does not change it. Each letter
  of the pattern is spelled out as the class of what it matches.
- A text that spells out "<start_of_text>" gets the special id where the splitting reaches it as one word, and
  only there. An added token of the json would be found anywhere ("..<start_of_text>"), so the special words are
  instead made by a chain of merges that come after all others.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from functools import cache
from typing import Any, Protocol

import regex
import tokenizers
from tokenizers import decoders, pre_tokenizers, processors
from tokenizers.models import BPE

WORD_END = "</w>"
SPECIAL_WORDS = ("<start_of_text>", "<end_of_text>")
_CONTRACTIONS = ("'s", "'t", "'re", "'ve", "'m", "'ll", "'d")
# SimpleTokenizer's pattern, compiled there with IGNORECASE; a tokenizer with another one is refused.
_ORIGINAL = "|".join([*SPECIAL_WORDS, *_CONTRACTIONS, r"[\p{L}]+", r"[\p{N}]", r"[^\s\p{L}\p{N}]+"])


class ClipBpe(Protocol):
    """The part of open_clip's SimpleTokenizer that decides its ids."""

    encoder: dict[str, int]
    bpe_ranks: dict[tuple[str, str], int]
    pat: Any  # a compiled pattern of `regex`, which has no types


def clip_tokenizer(original: ClipBpe) -> tokenizers.Tokenizer:
    """The same encoding as `original`, special tokens added at both ends, without its cleaning.

    Raises:
        ValueError: `original` splits words by a pattern that is not CLIP's.
    """
    if original.pat.pattern != _ORIGINAL:
        raise ValueError(f"{original.pat.pattern!r} is not CLIP's pattern: the ids would be others")
    vocab = dict(original.encoder)
    merges = sorted(original.bpe_ranks, key=original.bpe_ranks.__getitem__)
    specials = [(word, vocab[word]) for word in SPECIAL_WORDS]
    for word, token_id in specials:
        merges += _chain(word, token_id, merges, vocab)
    tokenizer = tokenizers.Tokenizer(BPE(vocab, merges, end_of_word_suffix=WORD_END))
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            # "removed" and inverted: what matches is kept, what lies between (spaces) is dropped.
            pre_tokenizers.Split(tokenizers.Regex(_pattern()), "removed", invert=True),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    start, end = SPECIAL_WORDS
    tokenizer.post_processor = processors.TemplateProcessing(
        single=f"{start} $A {end}", special_tokens=specials
    )
    tokenizer.decoder = decoders.ByteLevel()
    return tokenizer


def _chain(
    word: str, token_id: int, merges: list[tuple[str, str]], vocab: dict[str, int]
) -> Iterator[tuple[str, str]]:
    """Merges that turn the symbols of `word` into the one token `token_id`; adds their tokens to `vocab`.

    They touch no other word: each needs all of the special word up to there, "<" followed by a letter, and the
    splitting puts these two side by side in a special word only.
    """
    symbols = _apply([*word[:-1], word[-1] + WORD_END], merges)
    del vocab[word]
    left = symbols[0]
    for right in symbols[1:]:
        yield left, right
        left += right
        vocab[left] = token_id if left == word + WORD_END else max(vocab.values()) + 1


def _apply(symbols: list[str], merges: Iterable[tuple[str, str]]) -> list[str]:
    """Byte-pair encoding of one word: each merge in turn (a merge comes after those that make its two parts)."""
    for left, right in merges:
        i = 0
        while i < len(symbols) - 1:
            if symbols[i] == left and symbols[i + 1] == right:
                symbols[i : i + 2] = [left + right]
            i += 1
    return symbols


def _pattern() -> str:
    """`_ORIGINAL` for Oniguruma: classes spelled out as ranges, letters as what they match without case."""
    # The last one is not the complement of the others: if case is ignored, U+0345 (a combining iota) is in none.
    letters, numbers, others = (_ranges(c) for c in (r"[\p{L}]", r"[\p{N}]", r"[^\s\p{L}\p{N}]"))
    words = ["".join(_caseless(char) for char in word) for word in (*SPECIAL_WORDS, *_CONTRACTIONS)]
    return "|".join([*words, f"[{letters}]+", f"[{numbers}]", f"[{others}]+"])


@cache
def _caseless(char: str) -> str:
    return f"[{_ranges(regex.escape(char))}]" if char.isalpha() else regex.escape(char)


def _ranges(matcher: str) -> str:
    r"""The code points that `matcher` matches for `regex`, ignoring case: "\x{41}-\x{5a}...".

    Surrogates are left out: no string that can be encoded has them.
    """
    everything = "".join(map(chr, (*range(0xD800), *range(0xE000, 0x110000))))
    runs = regex.findall(f"(?:{matcher})+", everything, regex.IGNORECASE)
    return "".join(f"\\x{{{ord(run[0]):x}}}-\\x{{{ord(run[-1]):x}}}" for run in runs)
