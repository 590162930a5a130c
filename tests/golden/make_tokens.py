"""Makes `tokens.json.gz` and `clip_tokenizer.json.gz`; needs open_clip.

    python -m tests.golden.make_tokens

`tokens.json.gz` holds pairs of a text and the ids that open_clip's SimpleTokenizer gives it, special tokens
included, not truncated. `clip_tokenizer.json.gz` is CLIP's tokenizer.json, which folders of
open_clip get where it is not installed.
"""
# Look-alike characters and lists written as words are the point of this file.
# ruff: noqa: RUF001, SIM905

from __future__ import annotations

import gzip
import html
import json
import random
import unicodedata
from collections.abc import Callable
from pathlib import Path

GOLDEN = Path(__file__).parent
TOKENS = GOLDEN / "tokens.json.gz"

_WORDS = (
    "a photo of the cat dog naïve café Straße ПРИВЕТ привет Ελλάδα İstanbul ıı ǅ ﬁne ﬃ ſo K Å 東京 日本語 한국어 "
    "שלום العربية हिन्दी ไทย e\u0301te\u0301 Z\u0351\u036b\u0343 1st 42 3.14 ½ ² ٣ Ⅷ don't it's we'll they've I'm "
    "he'd you're"
).split()
_APOSTROPHES = (
    "it's IT'S it'ſ 'S 'T 'Re 'VE 'm 'LL 'd 'sx ''s s's 'tis rock'n'roll ’s ‘t ʼs `s ′s 'ſ' 'lL 'st".split()
)
_SPECIALS = (
    "<start_of_text> <end_of_text> <START_OF_TEXT> <End_Of_Text> <ſtart_of_text> <end_of_text <<end_of_text>> "
    "..<start_of_text> x<end_of_text>y <|startoftext|> <|endoftext|> <start_of_text><end_of_text> "
    "&lt;end_of_text&gt; < end_of_text> <end_of_text>'s <start_of_textſ> "
    "<start <end_of _of_text> </w> <end_of_text></w> a</w>b"
).split()
_EMOJI = "👩‍👩‍👧‍👦 👍🏽 🏳️‍🌈 🇫🇷 🇫 ❤️ ☺︎ 1️⃣ 👨🏿‍🚀 🐈‍⬛ 🫠 © ™ ‍ ️".split(" ")
_ENTITIES = (
    "&amp; &amp;amp; &amp;lt;b&amp;gt; &#39;s &#x27;S &nbsp; &eacute; &hearts; &notit; &#0; &#128; &#x110000; "
    "&#xD800; &#1; &; & &amp &ZeroWidthSpace; &NewLine; &AMP; &LT;end_of_text&GT; &HELLIP; &fjlig;"
).split()
_SPACES = [
    " ",
    "  ",
    "\t",
    "\n",
    "\r\n",
    "\r",
    "\v",
    "\f",
    "\x1c",
    "\x1f",
    "\x85",
    "\xa0",
    "\u1680",
    "\u2007",
    "\u2028",
]
_SPACES += ["\u3000", "\u200b", "\ufeff", "\u180e", "\u2060"]
_CONTROLS = [chr(c) for c in range(32)] + [
    "\x7f",
    "\x80",
    "\x9d",
    "\u202e",
    "\u2066",
    "\x1b[31m",
    "\ufffd",
    "\uffff",
]
_PUNCTUATION = "!\"#$%&'()*+,-./:;<=>?@[\\]^_`{|}~…—«»¿、。！？"


def hurting_strings(count: int, seed: int) -> list[str]:
    """Texts on which tokenizers tend to disagree; the first are one of each kind of trouble, alone."""
    rng = random.Random(seed)
    alone = [
        *_WORDS,
        *_APOSTROPHES,
        *_SPECIALS,
        *_EMOJI,
        *_ENTITIES,
        *_SPACES,
        *_CONTROLS,
        *_PUNCTUATION,
        "",
        "\ud800",
    ]
    kinds: list[Callable[[random.Random], str]] = [
        lambda r: " ".join(r.choices(_WORDS, k=r.randint(1, 9))),
        lambda r: r.choice(_WORDS) + r.choice(_APOSTROPHES) + r.choice(_WORDS),
        lambda r: "".join(r.choices([*_SPECIALS, *_WORDS, *_SPACES, *_PUNCTUATION], k=r.randint(1, 6))),
        lambda r: "".join(r.choices([*_EMOJI, *_PUNCTUATION, "cat"], k=r.randint(1, 8))),
        lambda r: "".join(r.choices([*_ENTITIES, *_WORDS, *_SPACES], k=r.randint(1, 6))),
        lambda r: "".join(r.choices([*_CONTROLS, *_SPACES, *_WORDS], k=r.randint(1, 8))),
        _mojibake,
        _block,
        _block,
        _ascii,
        _long_word,
        lambda r: "".join(chr(_code_point(r)) for _ in range(r.randint(1, 12))),
    ]
    return alone + [kinds[i % len(kinds)](rng) for i in range(count - len(alone))]


def _mojibake(rng: random.Random) -> str:
    text = " ".join(rng.choices([*_WORDS, *_EMOJI, "“quoted”", "it’s", "–"], k=rng.randint(1, 4)))
    for _ in range(rng.randint(1, 2)):
        text = text.encode().decode(rng.choice(["latin-1", "cp1252", "cp437", "mac-roman"]), "replace")
    return html.escape(text) if rng.random() < 0.2 else text


def _block(rng: random.Random) -> str:
    start = _code_point(rng)
    return "".join(chr(c) for c in range(start, start + rng.randint(1, 12)) if not 0xD800 <= c < 0xE000)


def _ascii(rng: random.Random) -> str:
    return "".join(chr(rng.randrange(128)) for _ in range(rng.randint(1, 40)))


def _long_word(rng: random.Random) -> str:
    letters = rng.choice(
        ["abcdefghijklmnopqrstuvwxyz", "ab", "aeiou", "!?.", "0123456789", "ñéü", "_-", "<end_oftx>"]
    )
    return "".join(rng.choices(letters, k=rng.choice([20, 50, 100])))


def _code_point(rng: random.Random) -> int:
    """Half of them from the planes with letters and emoji, few from the rest; no surrogate."""
    code = rng.choice([rng.randrange(0x3000), rng.randrange(0x10000), rng.randrange(0x10000, 0x20000)])
    code = rng.randrange(0x20000, 0x110000 - 16) if rng.random() < 0.1 else code
    return code if not 0xD800 <= code < 0xE000 else code - 0x800


def is_settled(text: str) -> bool:
    """Every Python from 3.11 on lower-cases and composes this text in the same way.

    Code points that Unicode 14 did not know may gain a lower case later; the ideographs of plane 2 and 3 do not.
    """
    return not any(unicodedata.category(c) == "Cn" and not "\U0002ebf0" <= c <= "\U0003347f" for c in text)


def main() -> None:
    from open_clip.tokenizer import SimpleTokenizer

    from clipserve_models.layouts.texts import OPEN_CLIP
    from tests.golden.clip_tokenizer import clip_tokenizer

    original = SimpleTokenizer()
    start, end = original.sot_token_id, original.eot_token_id
    texts = list(filter(is_settled, hurting_strings(20_000, seed=1)))[:10_000]
    pairs = [(text, [start, *original.encode(text), end]) for text in texts]
    # mtime=0: the same content gives the same file
    TOKENS.write_bytes(gzip.compress(json.dumps(pairs, separators=(",", ":")).encode(), mtime=0))
    tokenizer = clip_tokenizer(original).to_str().encode()
    OPEN_CLIP.write_bytes(gzip.compress(tokenizer, mtime=0))
    print(f"{len(pairs)} texts: {TOKENS.stat().st_size} bytes; tokenizer: {OPEN_CLIP.stat().st_size} bytes")


if __name__ == "__main__":
    main()
