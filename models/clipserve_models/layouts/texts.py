"""The tokenizer of a folder, with the ids of the folder's own library: transformers' AutoTokenizer or open_clip's.

A tokenizer.json is taken as it stands, but for three classes of transformers, which build theirs from the
vocabulary (BertTokenizer) and the merges (CLIPTokenizer) or from a SentencePiece model (SiglipTokenizer), whatever
else the files say.
"""

from __future__ import annotations

import gzip
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from tokenizers import AddedToken, Regex, Tokenizer, normalizers, pre_tokenizers, processors
from tokenizers.models import BPE

from clipserve.clip.manifest import Cleaning, TextSpec
from clipserve_models.errors import ModelsError, first_line
from clipserve_models.layouts import wordpiece
from clipserve_models.layouts.facts import Facts, read_facts, read_object
from clipserve_models.layouts.sentencepiece import siglip_tokenizer

# open_clip's SimpleTokenizer, made by tests/golden/make_tokens.py
OPEN_CLIP = Path(__file__).with_name("clip_tokenizer.json.gz")
_OPEN_CLIP_END = 49407
_MAX_BYTES = 100_000_000  # the service's own limit for a tokenizer.json
_WORDS = r"<\|startoftext\|>|<\|endoftext\|>|'s|'t|'re|'ve|'m|'ll|'d|[\p{L}]+|[\p{N}]|[^\s\p{L}\p{N}]+"

_CLIP_END = "<|endoftext|>"
# The special tokens of transformers' classes, where a folder does not say others.
_SPECIAL: dict[str, dict[str, str]] = {
    "CLIPTokenizer": {"bos_token": "<|startoftext|>", "eos_token": _CLIP_END, "pad_token": _CLIP_END},
    "SiglipTokenizer": {"eos_token": "</s>", "pad_token": "</s>"},
    "BertTokenizer": wordpiece.SPECIAL,
}


class TextShape(Protocol):
    """What a tokenizer must fit: a `TextTower`, or a `TextGraph`."""

    @property
    def context_length(self) -> int: ...
    @property
    def vocabulary(self) -> int: ...
    @property
    def pooling(self) -> str: ...
    @property
    def trims(self) -> bool: ...


@dataclass(frozen=True)
class TextGraph:
    """A text encoder that finds the end of a text by itself, and sees the padding: nothing more is known of it."""

    context_length: int
    vocabulary: int = 2**31  # of tokens; some do not say their number
    pooling: str = "last"
    trims: bool = False


@dataclass(frozen=True)
class Texts:
    """A tokenizer, the rules around it, and the files it is from."""

    tokenizer: Tokenizer
    spec: TextSpec
    files: tuple[Path, ...] = ()


def open_clip_texts(tower: TextShape, cleaning: Cleaning = "lower") -> Texts:
    """open_clip's own tokenizer, which it takes for every folder that names no other."""
    tokenizer = Tokenizer.from_buffer(gzip.decompress(OPEN_CLIP.read_bytes()))
    return Texts(tokenizer, spec_of(tower, 0, _OPEN_CLIP_END, cleaning))


def read_texts(
    folder: Path, default_class: str, tower: TextShape, cleaning: Cleaning = "none", *, cuts: bool = True
) -> Texts:
    """The tokenizer of transformers in a folder.

    `default_class`: where tokenizer_config.json names none. `cuts`: its `model_max_length` cuts texts.

    SigLIP2 was trained on lower-case texts, and its repositories name tokenizers that lower nothing: where the
    model's own class, SiglipTokenizer, is not named, texts are made lower-case whatever the files say.

    Raises:
        ModelsError: files are missing or contradictory, or the tokenizer is of an unknown kind.
    """
    path = folder / "tokenizer_config.json"
    config = read_facts(path) if path.is_file() or not default_class else Facts(path, {})
    if "auto_map" in config:
        config.refuse("auto_map", "this is code of the repository's own, which is never run")
    name = config.text("tokenizer_class", default_class).removesuffix("Fast")
    special = _Special(folder, config, _SPECIAL.get(name, {}))
    end_key = "eos_token"
    if name == "CLIPTokenizer":
        tokenizer, files = _clip(folder, config, special)
    elif name == "SiglipTokenizer":
        files = [folder / "spiece.model"]
        tokenizer = siglip_tokenizer(files[0], config, special.named("eos_token"))
    elif name == "BertTokenizer":
        end_key = "sep_token"
        tokens = {key: special.named(key) for key in wordpiece.SPECIAL}
        tokenizer, files = wordpiece.bert_tokenizer(folder, config, tokens)
    else:
        files = [folder / "tokenizer.json"]
        tokenizer = _as_it_stands(files[0])
        if "add_eos_token" in config or "add_bos_token" in config:
            _add_ends(tokenizer, config, special)
        if default_class == "SiglipTokenizer":
            cleaning = "lowercase"
    largest = max(tokenizer.get_vocab(with_added_tokens=True).values())
    if largest >= tower.vocabulary:
        raise ModelsError(
            f"{files[0]} has the id {largest}, and the model only {tower.vocabulary:,} tokens: these are of two."
        )
    side = "right" if tokenizer.padding is None else tokenizer.padding["direction"]
    if config.text("padding_side", side) != "right":
        config.refuse("padding_side", "texts padded on the left are not supported")
    length = tower.context_length
    if cuts and config.number("model_max_length", length) < length:
        if not tower.trims:
            config.refuse("model_max_length", f"the model sees {length} tokens, padding included")
        length = config.integer("model_max_length")
    pad, end = (special.id_of(tokenizer, key) for key in ("pad_token", end_key))
    if tokenizer.encode("").ids[-1:] != [end]:
        raise ModelsError(f"{files[0]} ends no text with the {end_key} of {config.file}: the two do not fit.")
    own = (path,) if path.is_file() else ()
    return Texts(tokenizer, spec_of(tower, pad, end, cleaning, length), (*own, *special.files, *files))


def spec_of(
    tower: TextShape, pad: int, end: int | None, cleaning: Cleaning, length: int | None = None
) -> TextSpec:
    """The rules around a tokenizer with these ids of padding and of a text's end. `length`: below the tower's."""
    return TextSpec(
        context_length=tower.context_length if length is None else length,
        padding="trim" if tower.trims else "fixed",
        pad_id=pad,
        eot_id=end,
        cleaning=cleaning,
    )


class _Special:
    """The special tokens by their part, from tokenizer_config.json or special_tokens_map.json."""

    def __init__(self, folder: Path, config: Facts, defaults: Mapping[str, str]) -> None:
        """`defaults`: of the tokenizer's class, for what no file says."""
        self._config, self._defaults = config, defaults
        path = folder / "special_tokens_map.json"
        self._map = read_facts(path) if path.is_file() else Facts(path, {})
        self.files = [path] if path.is_file() else []

    def named(self, key: str) -> str:
        """Its text."""
        told = self._config if key in self._config or key not in self._map else self._map
        value = told.get(key, self._defaults.get(key))
        value = value.get("content") if isinstance(value, dict) else value
        if not isinstance(value, str):
            told.refuse(key, "a token is needed")
        return value

    def id_of(self, tokenizer: Tokenizer, key: str) -> int:
        """Its number. Raises ModelsError: the tokenizer does not know it."""
        number = tokenizer.token_to_id(self.named(key))
        if number is None:
            self._config.refuse(key, f"the tokenizer has no token {self.named(key)!r}")
        return int(number)


def _as_it_stands(path: Path) -> Tokenizer:
    read_object(path, _MAX_BYTES)  # for its errors
    try:
        tokenizer = Tokenizer.from_file(str(path))
    except Exception as error:  # the library raises Exception itself
        raise ModelsError(f"{path} is not a tokenizer: {first_line(error)}.") from None
    tokenizer.no_truncation()
    return tokenizer


def _add_ends(tokenizer: Tokenizer, config: Facts, special: _Special) -> None:
    """The tokens around a text that the configuration asks for, as transformers adds them."""
    start, end = (
        special.named(f"{each}_token") if config.flag(f"add_{each}_token", False) else ""
        for each in ("bos", "eos")
    )
    numbers = {each: tokenizer.token_to_id(each) for each in (start, end) if each}
    if None not in numbers.values():
        tokenizer.post_processor = processors.TemplateProcessing(
            single=f"{start} $A {end}".strip(), special_tokens=list(numbers.items())
        )


def _clip(folder: Path, config: Facts, special: _Special) -> tuple[Tokenizer, list[Path]]:
    """As transformers' CLIPTokenizer: from tokenizer.json or from vocab.json and merges.txt."""
    start, end = special.named("bos_token"), special.named("eos_token")
    files = [folder / "tokenizer.json"]
    added: list[dict[str, Any]] = []
    if files[0].is_file():
        whole = read_object(files[0], _MAX_BYTES)
        added = whole.get("added_tokens") or []
        told = Facts(files[0], whole).section("model")
        vocabulary = told.section("vocab").values
        merges = [
            tuple(each.split(" ") if isinstance(each, str) else each) for each in told.get("merges", [])
        ]
    else:
        files = [folder / "vocab.json", folder / "merges.txt"]
        vocabulary, merges = read_object(files[0], _MAX_BYTES), _merges(files[1])
    if not merges:
        raise ModelsError(f"{files[-1]} has no merges: its words would become single letters.")
    try:
        tokenizer = Tokenizer(BPE(vocabulary, merges, end_of_word_suffix="</w>", unk_token=end))
        tokenizer.normalizer = normalizers.Sequence(
            [normalizers.NFC(), normalizers.Replace(Regex(r"\s+"), " "), normalizers.Lowercase()]
        )
        tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
            [
                pre_tokenizers.Split(Regex(_WORDS), "removed", invert=True),
                pre_tokenizers.ByteLevel(add_prefix_space=False),
            ]
        )
        tokenizer.add_tokens(_added(config, added, start, end))
        tokenizer.post_processor = processors.TemplateProcessing(
            single=f"{start} $A {end}",
            special_tokens=[(each, tokenizer.token_to_id(each)) for each in (start, end)],
        )
    except Exception as error:  # the library raises Exception itself
        raise ModelsError(f"{files[0]} is not CLIP's vocabulary: {first_line(error)}.") from None
    return tokenizer, files


def _merges(path: Path) -> list[tuple[str, ...]]:
    try:
        lines = path.read_text("utf-8").splitlines()
    except FileNotFoundError:
        raise ModelsError(f"{path} is missing, without which vocab.json is no tokenizer.") from None
    except (OSError, ValueError) as error:
        raise ModelsError(f"{path} cannot be read: {error}.") from None
    return [tuple(line.split(" ")) for line in lines if line and not line.startswith("#version")]


def _added(config: Facts, added: list[dict[str, Any]], *special: str) -> list[AddedToken]:
    """Tokens found in a text as they are: those of the files in the order of their ids, and start and end."""
    told = {int(number): token for number, token in config.section("added_tokens_decoder", {}).values.items()}
    told = told or {token["id"]: token for token in added}
    flags = ("single_word", "lstrip", "rstrip", "normalized", "special")
    tokens = [
        AddedToken(token["content"], **{flag: token[flag] for flag in flags if flag in token})
        for _, token in sorted(told.items())
    ]
    known = {token.content for token in tokens}
    return [*tokens, *(AddedToken(each, special=True) for each in special if each not in known)]
