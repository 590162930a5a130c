"""BERT's tokenizer, as transformers' BertTokenizer builds it: from its vocabulary and a few options."""

from __future__ import annotations

from pathlib import Path

from tokenizers import AddedToken, Tokenizer, normalizers, pre_tokenizers, processors
from tokenizers.models import WordPiece

from clipserve_models.errors import ModelsError, first_line
from clipserve_models.layouts.facts import Facts, read_object

SPECIAL = {f"{name}_token": f"[{name.upper()}]" for name in ("unk", "sep", "pad", "cls", "mask")}
_MAX_BYTES = 100_000_000


def bert_tokenizer(folder: Path, config: Facts, special: dict[str, str]) -> tuple[Tokenizer, list[Path]]:
    """Of vocab.txt, or of the vocabulary in tokenizer.json. `special`: the tokens of SPECIAL, by their parts.

    Returns:
        the tokenizer, and its files.

    Raises:
        ModelsError: there is no vocabulary, or it lacks one of the tokens.
    """
    path = folder / "tokenizer.json"
    if path.is_file():
        model = Facts(path, read_object(path, _MAX_BYTES)).section("model")
        vocabulary = {str(word): number for word, number in model.section("vocab").values.items()}
    else:
        path = folder / "vocab.txt"
        vocabulary = {word: number for number, word in enumerate(_lines(path))}
    if missing := next((token for token in special.values() if token not in vocabulary), None):
        raise ModelsError(f"{path} has no token {missing!r}, so it is no vocabulary of BERT.")
    try:
        tokenizer = Tokenizer(WordPiece(vocabulary, unk_token=special["unk_token"]))
    except Exception as error:  # the library raises Exception itself
        raise ModelsError(f"{path} is no vocabulary of BERT: {first_line(error)}.") from None
    tokenizer.normalizer = normalizers.BertNormalizer(
        clean_text=True,
        handle_chinese_chars=config.flag("tokenize_chinese_chars", True),
        strip_accents=config.flag("strip_accents", False) if "strip_accents" in config else None,
        lowercase=config.flag("do_lower_case", True),
    )
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.add_special_tokens([AddedToken(token, special=True) for token in special.values()])
    start, end = special["cls_token"], special["sep_token"]
    tokenizer.post_processor = processors.TemplateProcessing(
        single=f"{start} $A {end}", special_tokens=[(each, vocabulary[each]) for each in (start, end)]
    )
    return tokenizer, [path]


def _lines(path: Path) -> list[str]:
    try:
        return path.read_text("utf-8").removesuffix("\n").split("\n")
    except FileNotFoundError:
        raise ModelsError(f"{path} is missing, and so is tokenizer.json: download one of them.") from None
    except (OSError, ValueError) as error:
        raise ModelsError(f"{path} cannot be read: {error}.") from None
