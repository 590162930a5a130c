"""Makes `tests/golden/saved_models.json.gz`: models as transformers and open_clip save them, and what they compute.

.venv-export/bin/python -m tests.external.export.saved_models [NAME...]
"""

from __future__ import annotations

import gzip
import io
import json
import sys
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from tests.external.export.families import VOCABULARY, t5_tokenizer, write_gemma_tokenizer, xlm_r_tokenizer
from tests.golden.make_tokens import hurting_strings
from tests.models.layouts.changes import edit, told, write_json
from tests.models.layouts.saved import EACH, STORE, Computed, Saved, photos, stored, texts

SMALL = {"hidden_size": 64, "intermediate_size": 160, "num_hidden_layers": 2, "num_attention_heads": 2}
WORDS = {**SMALL, "hidden_size": 48}
IMAGES = {"image_size": 64, "patch_size": 16}
OPEN_CLIP_TEXT = {"context_length": 77, "vocab_size": 49408, "width": 16, "heads": 2, "layers": 2}
OPEN_CLIP_VISION = {"image_size": 64, "layers": 2, "width": 160, "head_width": 80, "patch_size": 16}
PLAIN = {"embed_dim": 40, "vision_cfg": OPEN_CLIP_VISION, "text_cfg": OPEN_CLIP_TEXT}
MEAN_STD = {"mean": [0.48, 0.45, 0.4], "std": [0.26, 0.27, 0.28]}
START, END = "<|startoftext|>", "<|endoftext|>"
CONFIG = "open_clip_config.json"


def of_transformers(folder: Path) -> Computed:
    """What transformers computes with a folder."""
    from transformers import AutoImageProcessor, AutoModel, AutoTokenizer, Siglip2Tokenizer

    model = AutoModel.from_pretrained(folder, dtype=torch.float32).eval()
    images = AutoImageProcessor.from_pretrained(folder, backend="pil")
    siglip2 = model.config.model_type == "siglip" and (folder / "tokenizer.json").is_file()
    tokenizer = (Siglip2Tokenizer if siglip2 else AutoTokenizer).from_pretrained(folder)
    length = model.config.text_config.max_position_embeddings
    bert = model.config.model_type == "chinese_clip"

    def ids(strings: Sequence[str]) -> Any:
        told = tokenizer(list(strings), padding="max_length", truncation=True, max_length=length)
        return np.array(told.input_ids)

    def text_vectors(rows: Any) -> Any:
        mask = {"attention_mask": (rows != tokenizer.pad_token_id).long()} if bert else {}
        return model.get_text_features(rows, **mask).pooler_output

    words = model.text_model.encoder
    blocks = model.vision_model.encoder.layers[-1], (words.layer if bert else words.layers)[-1]
    return computed(
        model,
        lambda photo: images(photo, return_tensors="pt").pixel_values,
        ids,
        lambda pixels: model.get_image_features(pixels).pooler_output,
        text_vectors,
        [of_block(block) for block in blocks],
    )


def of_open_clip(folder: Path) -> Computed:
    """What open_clip computes with a folder."""
    import open_clip

    model, transform = open_clip.create_model_from_pretrained(f"local-dir:{folder}")
    tokenizer = open_clip.get_tokenizer(f"local-dir:{folder}")
    return by_open_clip(model, transform, tokenizer, blocks_of(model))


def blocks_of(model: Any) -> list[list[Any]]:
    """`of_block` of both encoders of open_clip's model."""
    inner = getattr(model, "text", model).transformer
    words = of_block(inner.encoder.layer[-1] if hasattr(inner, "encoder") else inner.resblocks[-1])
    if hasattr(model.visual, "attnpool"):
        image = [model.visual.attnpool.num_heads, model.visual.bn1.eps, "relu"]
    elif hasattr(model.visual, "trunk"):
        image = of_block(model.visual.trunk.blocks[-1])
        if pool := model.visual.trunk.attn_pool:
            assert [pool.num_heads, activation_of(pool.mlp.act)] == image[::2]
    else:
        image = of_block(model.visual.transformer.resblocks[-1])
    return [image, words]


def by_open_clip(model: Any, transform: Any, tokenizer: Any, blocks: Sequence[list[Any]]) -> Computed:
    """What a model, transform and tokenizer of open_clip compute. `blocks` as for `computed`."""
    model.eval()  # batch norms

    def ids(strings: Sequence[str]) -> Any:
        return tokenizer(list(strings)).numpy()

    return computed(
        model, lambda photo: transform(photo)[None], ids, model.encode_image, model.encode_text, blocks
    )


def computed(
    model: Any, pixels: Any, ids: Any, images: Any, strings: Any, blocks: Sequence[list[Any]]
) -> Computed:
    """`blocks`: heads, epsilon and activation of the image and the text encoder; the rest are functions."""
    rows = ids(texts())
    with torch.no_grad():
        shown = torch.cat([pixels(Image.open(io.BytesIO(photo))) for photo in photos()])
        vectors = images(shown), strings(torch.from_numpy(rows[EACH - 1 :: EACH]))
    units = [torch.nn.functional.normalize(each.float(), dim=-1) for each in vectors]
    bias = getattr(model, "logit_bias", None)
    return Computed(
        dict(zip(("image", "text"), blocks, strict=False)),
        model.logit_scale.exp().item(),
        None if bias is None else bias.item(),
        rows.tolist(),
        *[[[float(f"{value:.8g}") for value in row] for row in each.tolist()] for each in units],
    )


def of_block(block: Any) -> list[Any]:
    """Heads, epsilon and activation of a block of transformers, open_clip or timm."""
    if hasattr(block, "self_attn"):
        return [block.self_attn.num_heads, block.layer_norm1.eps, activation_of(block.mlp.activation_fn)]
    if hasattr(block, "intermediate"):
        act = activation_of(block.intermediate.intermediate_act_fn)
        return [block.attention.self.num_attention_heads, block.output.LayerNorm.eps, act]
    norm, act = getattr(block, "ln_1", None) or block.norm1, block.mlp
    return [block.attn.num_heads, norm.eps, activation_of(getattr(act, "gelu", None) or act.act)]


def activation_of(module: Any) -> str:
    """Its name in an architecture."""
    kind = type(module).__name__
    if kind.lower().startswith("quickgelu"):
        return "quick_gelu"
    tanh = getattr(module, "approximate", "none") == "tanh" or "Tanh" in kind
    assert "GELU" in kind, kind
    return "gelu_tanh" if tanh else "gelu"


def clip_vocabulary(folder: Path, merges: int = 500) -> int:
    """The beginning of OpenAI's, as its folders on the hub have it. Returns: its number of tokens."""
    from open_clip import SimpleTokenizer

    original = SimpleTokenizer()
    ranked = sorted(original.bpe_ranks, key=original.bpe_ranks.__getitem__)[:merges]
    tokens = [*list(original.encoder)[:512], *map("".join, ranked), START, END]
    write_json(folder / "vocab.json", {token: number for number, token in enumerate(tokens)})
    (folder / "merges.txt").write_text("#version: 0.2\n" + "\n".join(map(" ".join, ranked)) + "\n")
    special = {"bos_token": START, "eos_token": END, "pad_token": END, "unk_token": END}
    named = {"tokenizer_class": "CLIPTokenizer", "model_max_length": 77}
    write_json(folder / "tokenizer_config.json", special | named)
    return len(tokens)


def save(
    folder: Path,
    kind: str,
    vocabulary: int,
    *,
    side: int = 64,
    text: Any = None,
    both: Any = None,
    **images: Any,
) -> Any:
    """A model of transformers, `kind`, and its preprocessing. Returns: the model."""
    import transformers

    words = {
        **WORDS,
        "vocab_size": vocabulary,
        "eos_token_id": vocabulary - 1,
        **(text or {}),
        **(both or {}),
    }
    vision, others = {**SMALL, **IMAGES, "image_size": side, **(both or {})}, {"projection_dim": 40}
    if kind == "Siglip":
        words, others = words | SMALL, {}
    config = getattr(transformers, f"{kind}Config")(text_config=words, vision_config=vision, **others)
    model = getattr(transformers, f"{kind}Model")(config)
    model.save_pretrained(folder)
    images = {"size": {"shortest_edge": side}, "crop_size": side} | images
    processor = {"MetaClip2": "CLIP"}.get(kind, kind)
    getattr(transformers, f"{processor}ImageProcessor")(**images).save_pretrained(folder)
    return model


def clip(folder: Path) -> None:
    """CLIPModel, with the tokenizer in two files."""
    save(folder, "CLIP", clip_vocabulary(folder))


def clip_of_2022(folder: Path) -> None:
    """Its configuration has the text's facts in `text_config_dict`, and the wrong end of a text."""
    clip(folder)
    real = json.loads((folder / "config.json").read_text())["text_config"]
    edit(folder, "config.json text_config_dict", {**real, "eos_token_id": 2})
    edit(folder, "config.json text_config", {"hidden_size": 999})
    images: dict[str, Any] = dict.fromkeys(("do_center_crop", "do_normalize", "do_resize"), True)
    images |= {"crop_size": 64, "size": 64, "resample": 3}
    images |= {"image_mean": MEAN_STD["mean"], "image_std": MEAN_STD["std"]}
    write_json(folder / "preprocessor_config.json", images)


def bert_vocabulary(folder: Path) -> int:
    """Single characters, in vocab.txt. Returns: how many."""
    letters = sorted({each for text in hurting_strings(600, seed=4) for each in text if each.isalnum()})
    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    vocabulary = [*special, *letters, *(f"##{letter}" for letter in letters[:200]), *"!?.,;:'-"]
    (folder / "vocab.txt").write_text("\n".join(vocabulary) + "\n")
    return len(vocabulary)


def chinese_clip(folder: Path) -> None:
    """A BERT whose vocabulary is single characters, in vocab.txt, and a pickle of weights."""
    text = {"max_position_embeddings": 52}
    model = save(folder, "ChineseCLIP", bert_vocabulary(folder), text=text)
    torch.save(model.state_dict(), folder / "pytorch_model.bin")
    (folder / "model.safetensors").unlink()


def metaclip_2(folder: Path) -> None:
    save(folder, "MetaClip2", xlm_r_tokenizer(folder), text={"eos_token_id": 2, "bos_token_id": 0})


def siglip(folder: Path) -> None:
    """With a SentencePiece model, and 50 pixels of which the patches of 16 leave 2."""
    import sentencepiece
    from transformers import SiglipTokenizer

    strings = [text for text in hurting_strings(800, seed=3) if text.strip() and text.isprintable()]
    options: dict[str, Any] = {
        "vocab_size": 2_000,
        "character_coverage": 0.98,
        "hard_vocab_limit": False,
        "minloglevel": 2,
    }
    options |= {
        "pad_id": 0,
        "eos_id": 1,
        "unk_id": 2,
        "bos_id": -1,
        "model_writer": (content := io.BytesIO()),
    }
    sentencepiece.SentencePieceTrainer.train(sentence_iterator=iter(strings), **options)
    (folder / "spiece.model").write_bytes(content.getvalue())
    tokenizer = SiglipTokenizer(str(folder / "spiece.model"))
    tokenizer.save_pretrained(folder)
    _siglip(folder, tokenizer.vocab_size, 3)


def siglip2(folder: Path) -> None:
    """SiglipModel with a tokenizer of Gemma's kind, bilinear."""
    made = write_gemma_tokenizer(folder / "tokenizer")
    for path in made.iterdir():
        path.rename(folder / path.name)
    made.rmdir()
    _siglip(folder, 400, 2)


def _siglip(folder: Path, vocabulary: int, resample: int) -> None:
    images: dict[str, Any] = {"size": {"height": 50, "width": 50}, "resample": resample}
    save(folder, "Siglip", vocabulary, side=50, text={"max_position_embeddings": 64}, **images)


def fine_tune(folder: Path) -> None:
    """Another activation, mean, deviation, filter and context length; squashed; tokenizer.json; shards in bf16."""
    from transformers import CLIPTokenizer

    images: dict[str, Any] = {"image_mean": [0.1, 0.2, 0.3], "image_std": [0.4, 0.5, 0.6], "resample": 2}
    images |= {"do_center_crop": False, "size": {"height": 64, "width": 64}}
    both, text = {"hidden_act": "gelu", "layer_norm_eps": 1e-6}, {"max_position_embeddings": 64}
    model = save(folder, "CLIP", clip_vocabulary(folder), text=text, both=both, **images)
    CLIPTokenizer.from_pretrained(folder, model_max_length=64).save_pretrained(folder)
    for name in ("vocab.json", "merges.txt", "model.safetensors"):
        (folder / name).unlink()
    model.to(torch.bfloat16).save_pretrained(folder, max_shard_size="200KB")


def open_clip_folder(
    folder: Path, config: dict[str, Any], dtype: torch.dtype = torch.float32, **images: Any
) -> None:
    """As open_clip's `push_to_hf_hub` saves it."""
    import open_clip
    from safetensors.torch import save_file

    write_json(folder / CONFIG, {"model_cfg": config, "preprocess_cfg": MEAN_STD | images})
    model = open_clip.create_model(f"local-dir:{folder}", load_weights=False, pretrained_text=False)
    weights = {name: value.to(dtype).contiguous() for name, value in model.state_dict().items()}
    save_file(weights, folder / "open_clip_model.safetensors")


def resnet(folder: Path) -> None:
    """Of OpenAI's kind, whose weights are a pickle."""
    from safetensors.torch import load_file

    vision = {"image_size": 64, "layers": [1, 2, 1, 1], "width": 16, "head_width": 64, "patch_size": None}
    open_clip_folder(folder, {**PLAIN, "quick_gelu": True, "vision_cfg": vision})
    torch.save(load_file(folder / "open_clip_model.safetensors"), folder / "open_clip_pytorch_model.bin")
    (folder / "open_clip_model.safetensors").unlink()


def quick(folder: Path) -> None:
    open_clip_folder(folder, {**PLAIN, "quick_gelu": True}, torch.float16)


def eos(folder: Path) -> None:
    """Of MetaCLIP 2's kind: a multilingual tokenizer, pooled at its own end of a text."""
    own = {"vocab_size": xlm_r_tokenizer(folder), "hf_tokenizer_name": "facebook/xlm-v-base"}
    text = {**OPEN_CLIP_TEXT, **own, "pool_type": "eos", "eos_id": 2}
    open_clip_folder(folder, {**PLAIN, "custom_text": True, "text_cfg": text}, interpolation="bilinear")


def timm_siglip(folder: Path) -> None:
    """A whole SigLIP B/32 of timm, whose size is in its name, with a small text encoder."""
    t5_tokenizer(folder)
    own = {"context_length": 64, "vocab_size": VOCABULARY, "hf_tokenizer_name": "timm/siglip"}
    text = {**OPEN_CLIP_TEXT, **own, "no_causal_mask": True, "proj_bias": True, "pool_type": "last"}
    text |= {"norm_kwargs": {"eps": 1e-6}, "tokenizer_kwargs": {"clean": "canonicalize"}}
    vision = {"image_size": 256, "timm_model_name": "vit_base_patch32_siglip_256"}
    vision |= {"timm_model_pretrained": False, "timm_pool": "map", "timm_proj": "none"}
    model: dict[str, Any] = {"embed_dim": 768, "init_logit_bias": -10, "custom_text": True}
    model |= {"vision_cfg": vision, "text_cfg": text}
    open_clip_folder(folder, model, torch.float16, resize_mode="squash")


def mobileclip_b(folder: Path) -> None:
    """A ViT behind convolutions, whose sizes are in its name, with a small text encoder."""
    vision = {"image_size": 224, "timm_model_name": "vit_base_mci_224", "timm_pool": "token"}
    config = {**PLAIN, "custom_text": True, "vision_cfg": {**vision, "timm_proj": None}}
    open_clip_folder(folder, config, torch.float16)


def biomedclip(folder: Path) -> None:
    """A plain ViT of timm and BERT-base, whose sizes are in their names: open_clip asks a hub for those of BERT."""
    from transformers import BertConfig

    BertConfig().save_pretrained(folder / "bert")
    bert_vocabulary(folder)
    write_json(folder / "tokenizer_config.json", {"tokenizer_class": "BertTokenizer"})
    text: dict[str, Any] = {"hf_model_name": str(folder / "bert"), "hf_tokenizer_name": "a/bert"}
    text |= {"hf_pooler_type": "cls_last_hidden_state_pooler", "hf_proj_type": "mlp"}
    text |= {"hf_model_pretrained": False, "context_length": 256}
    vision = {"image_size": 224, "timm_model_name": "vit_base_patch16_224"}
    vision |= {"timm_pool": "", "timm_proj": "linear"}
    open_clip_folder(folder, {"embed_dim": 512, "vision_cfg": vision, "text_cfg": text}, torch.float16)
    edit(folder, f"{CONFIG} model_cfg.text_cfg.hf_model_name", "bert-base-uncased")


def of_biomedclip(folder: Path) -> Computed:
    told(f"{CONFIG} model_cfg.text_cfg.hf_model_name", str(folder / "bert"))(folder)
    return of_open_clip(folder)


# What is saved -> how, and the library that reads it
SAVED: dict[str, tuple[Callable[[Path], Any], Callable[[Path], Computed]]] = {
    "CLIP": (clip, of_transformers),
    "CLIP of 2022": (clip_of_2022, of_transformers),
    "Chinese-CLIP": (chinese_clip, of_transformers),
    "MetaCLIP 2": (metaclip_2, of_transformers),
    "SigLIP": (siglip, of_transformers),
    "SigLIP2": (siglip2, of_transformers),
    "a fine-tune": (fine_tune, of_transformers),
    "open_clip, quick-gelu, fp16": (quick, of_open_clip),
    "open_clip, ResNet, a pickle": (resnet, of_open_clip),
    "open_clip, eos": (eos, of_open_clip),
    "open_clip, SigLIP of timm": (timm_siglip, of_open_clip),
    "open_clip, MobileCLIP-B": (mobileclip_b, of_open_clip),
    "open_clip, BiomedCLIP": (biomedclip, of_biomedclip),
}
_TYPES = {torch.float32: "F32", torch.float16: "F16", torch.bfloat16: "BF16"}


def made(name: str, folder: Path) -> Saved:
    """What a library saves; and what it computes with these files, once their weights are drawn by their names."""
    from safetensors.torch import load_file

    save, compute = SAVED[name]
    save(folder)
    saved = Saved({}, {})
    for path in sorted(folder.rglob("*.*")):
        if path.suffix in (".safetensors", ".bin"):
            state = load_file(path) if path.suffix == ".safetensors" else torch.load(path, weights_only=True)
            types = {_TYPES[each.dtype] for each in state.values() if each.is_floating_point()}
            (kind,) = types
            saved.weights[path.name] = kind, {key: [*each.shape] for key, each in state.items()}
        else:
            saved.files[path.relative_to(folder).as_posix()] = path.read_bytes().decode("latin-1")
    saved.write(folder)
    return replace(saved, computed=compute(folder))


if __name__ == "__main__":
    whole = {**stored()} if STORE.is_file() else {}
    for each in sys.argv[1:] or SAVED:
        with tempfile.TemporaryDirectory() as scratch:
            whole[each] = made(each, Path(scratch))
    content = json.dumps(
        {name: asdict(whole[name]) for name in SAVED if name in whole}, separators=(",", ":")
    )
    STORE.write_bytes(gzip.compress(content.encode(), mtime=0))
