"""SiglipTokenizer of transformers: a SentencePiece model behind a cleaning of its own.

The fields of the model are those of src/sentencepiece_model.proto in https://github.com/google/sentencepiece.
"""

from __future__ import annotations

import string
import struct
from collections.abc import Iterator
from pathlib import Path

from tokenizers import AddedToken, Regex, Tokenizer, normalizers, processors
from tokenizers.models import Unigram

from clipserve.clip.protobuf import fields
from clipserve.files import read_bounded
from clipserve_models.errors import ModelsError, first_line
from clipserve_models.layouts.facts import Facts

_MAX_BYTES = 100_000_000
_PIECES, _TRAINER, _NORMALIZER = 1, 2, 3  # of a model
_TEXT, _SCORE, _TYPE = 1, 2, 3  # of a piece
_UNKNOWN = b"\x02"  # a piece's type
_MODEL_TYPE, _UNIGRAM = 3, b"\x01"  # of the trainer
_CHARSMAP = 2  # of the normalizer
_SPACE = "\u2581"


def siglip_tokenizer(path: Path, config: Facts, end: str) -> Tokenizer:
    """The tokenizer of spiece.model; it gives transformers' ids on texts that do not spell out special tokens.

    Raises:
        ModelsError: the file is missing, cut short, or no unigram model.
    """
    spaces = "".join(filter(str.isspace, map(chr, range(0x10000))))  # as Python's `re` has \s
    try:
        data = read_bounded(path, _MAX_BYTES)
        model = list(_fields(data))
        pieces = [dict(_fields(value)) for number, value in model if number == _PIECES]
        trainer, normalizer = (
            dict(_fields(value))
            for which in (_TRAINER, _NORMALIZER)
            for number, value in model
            if number == which
        )
        if trainer.get(_MODEL_TYPE, _UNIGRAM) != _UNIGRAM:
            raise ValueError("it is no unigram model")
        vocabulary = [
            (piece[_TEXT].decode(), struct.unpack("<f", piece.get(_SCORE, bytes(4)))[0]) for piece in pieces
        ]
        unknown = [piece.get(_TYPE) for piece in pieces].index(_UNKNOWN)
        tokenizer = Tokenizer(Unigram(vocabulary, unk_id=unknown, byte_fallback=False))
        steps = [normalizers.Replace(_SPACE, " "), normalizers.Prepend(_SPACE)]
        if config.flag("do_lower_case", True):
            steps.append(normalizers.Lowercase())
        steps += [
            normalizers.Replace(Regex(_class(string.punctuation)), ""),
            normalizers.Replace(Regex(f"{_class(spaces)}+"), " "),
            normalizers.Strip(),
        ]
        if _CHARSMAP in normalizer:
            steps.append(normalizers.Precompiled(normalizer[_CHARSMAP]))
        # What SentencePiece does after that with the spaces.
        steps += [normalizers.Replace(Regex(" +"), _SPACE), normalizers.Replace(Regex(f"{_SPACE}+$"), "")]
        tokenizer.normalizer = normalizers.Sequence(steps)
        tokenizer.add_special_tokens([AddedToken(end, lstrip=True, rstrip=True, normalized=False)])
        tokenizer.post_processor = processors.TemplateProcessing(
            single=f"$A {end}", special_tokens=[(end, tokenizer.token_to_id(end))]
        )
    except FileNotFoundError:
        raise ModelsError(f"{path} is missing: SiglipTokenizer is made of it.") from None
    except Exception as error:  # the tokenizers library raises Exception itself
        raise ModelsError(f"{path} is not a tokenizer of SigLIP: {first_line(error)}.") from None
    return tokenizer


def _class(characters: str) -> str:
    return "[" + "".join(f"\\x{{{ord(each):x}}}" for each in characters) + "]"


def _fields(data: bytes) -> Iterator[tuple[int, bytes]]:
    """The fields of a protobuf message: numbers, and their contents."""
    for number, _, begin, end in fields(data, 0, len(data)):
        yield number, data[begin:end]
