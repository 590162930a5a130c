"""Text -> token ids and lengths, exactly as from the model's reference tokenizer."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple
from weakref import WeakValueDictionary

import numpy as np
import numpy.typing as npt
import tokenizers

from clipserve.clip.artifact import TOKENIZER, ArtifactError
from clipserve.clip.cleaning import CLEANING
from clipserve.clip.manifest import ModelManifest, TextSpec
from clipserve.errors import InvalidInput, TextTooLong
from clipserve.files import read_bounded

_SURROGATE = re.compile(r"[\ud800-\udfff]")
_MAX_FILE_BYTES = 100_000_000  # a large multilingual tokenizer.json has 35 million
_read: WeakValueDictionary[tuple[Path, str], Tokenizer] = WeakValueDictionary()


class TokenizedText(NamedTuple):  # a third of a dataclass's time for each text
    """One text. `tokens`: its number of tokens before truncation, special tokens included."""

    ids: list[int]
    tokens: int

    @property
    def truncated(self) -> bool:
        return self.tokens > len(self.ids)


class Tokenizer:
    """Applies the reference's cleaning of texts, then the artifact's tokenizer.json."""

    def __init__(self, spec: TextSpec, encoder: tokenizers.Tokenizer) -> None:
        self._spec = spec
        self._encoder = encoder
        self._clean = CLEANING[spec.cleaning]

    def encode(self, texts: Sequence[str], truncate: bool = False, first: int = 0) -> list[TokenizedText]:
        """Token ids of each text, special tokens included, not padded.

        A text longer than the context length keeps its first tokens and its end-of-text token if `truncate`.
        `first`: the position of the first text in the request, for errors.

        Raises:
            TextTooLong: without `truncate`, a text has more tokens than the context length; has its index.
            InvalidInput: a text is not valid Unicode (a lone surrogate).
        """
        return [
            self._fitted(encoding.ids, index, truncate)
            for index, encoding in enumerate(self._encode_all(texts, first), first)
        ]

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

    def _encode_all(self, texts: Sequence[str], first: int) -> list[tokenizers.Encoding]:
        try:
            return self._encoder.encode_batch_fast([self._clean(text) for text in texts])
        except TypeError:  # the library's error for a str with a lone surrogate
            bad = first + next(i for i, text in enumerate(texts) if _SURROGATE.search(text))
            raise InvalidInput(
                f"text {bad} is not valid Unicode: it holds a lone surrogate.", index=bad
            ) from None

    def pieces(self, ids: Sequence[int]) -> list[str]:
        """Each token as the vocabulary writes it; "" for an unknown id."""
        return [self._encoder.id_to_token(token) or "" for token in ids]

    def pad(
        self, rows: Sequence[TokenizedText], length: int
    ) -> tuple[npt.NDArray[np.int32], npt.NDArray[np.int32]]:
        """Rows of at most `length` tokens -> token ids int32 [N, length] and lengths int32 [N].

        A row's length ends at its first end-of-text token, where the reference pools, even if the caller's text
        contains that token.
        """
        eot, padding = self._spec.eot_id, [self._spec.pad_id] * length
        token_ids = [row.ids + padding[len(row.ids) :] for row in rows]
        lengths = [row.ids.index(eot) + 1 if eot in row.ids else len(row.ids) for row in rows]
        return np.array(token_ids, np.int32), np.array(lengths, np.int32)


def load_tokenizer(folder: Path, spec: TextSpec) -> Tokenizer:
    """The tokenizer of the artifact in `folder`.

    Raises:
        ArtifactError: tokenizer.json is missing or malformed.
    """
    path = folder / TOKENIZER
    try:
        encoder = tokenizers.Tokenizer.from_buffer(read_bounded(path, _MAX_FILE_BYTES))
        encoder.encode("a \u0378")  # fail now, not at the first text with an unknown character
    except OSError as error:
        raise ArtifactError(f"{path} cannot be read: {error.strerror}") from None
    except Exception as error:  # the library raises ValueError for a file, and Exception itself for a text
        raise ArtifactError(f"{path} is not a tokenizer: {error}") from None
    encoder.no_padding()
    encoder.no_truncation()
    return Tokenizer(spec, encoder)


def tokenizer_of(folder: Path, manifest: ModelManifest) -> Tokenizer:
    """The tokenizer of an artifact, which is read once while it is in use: this takes a tenth of a second.

    Raises:
        ArtifactError: it is missing or malformed.
    """
    key = folder, manifest.fingerprint()
    tokenizer = _read.get(key) or load_tokenizer(folder, manifest.text)
    _read[key] = tokenizer
    return tokenizer
