"""Small models as transformers and open_clip save them, and what the two compute with them in PyTorch."""

from __future__ import annotations

import io
import json
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image

from tests.external.export.families import VOCABULARY, t5_tokenizer, write_gemma_tokenizer, xlm_r_tokenizer
from tests.golden.make_tokens import hurting_strings

SMALL = {"hidden_size": 64, "intermediate_size": 160, "num_hidden_layers": 2, "num_attention_heads": 2}
WORDS = {**SMALL, "hidden_size": 48}
IMAGES = {"image_size": 64, "patch_size": 16}
OPEN_CLIP_TEXT = {"context_length": 77, "vocab_size": 49408, "width": 64, "heads": 2, "layers": 2}
OPEN_CLIP_VISION = {"image_size": 64, "layers": 2, "width": 160, "head_width": 80, "patch_size": 16}
PLAIN = {"embed_dim": 40, "vision_cfg": OPEN_CLIP_VISION, "text_cfg": OPEN_CLIP_TEXT}
MEAN_STD = {"mean": [0.48, 0.45, 0.4], "std": [0.26, 0.27, 0.28]}
START, END = "<|startoftext|>", "<|endoftext|>"


@dataclass(frozen=True)
class Reference:
    """A model of the library that saved it. Facts of a tower: heads, epsilon, activation."""

    pixels: Callable[[bytes], npt.NDArray[np.float32]]  # normalised, [3, S, S]
    ids: Callable[[Sequence[str]], npt.NDArray[np.int64]]  # [N, context length]
    image_vectors: Callable[[npt.NDArray[np.float32]], npt.NDArray[np.float32]]
    text_vectors: Callable[[npt.NDArray[np.int64]], npt.NDArray[np.float32]]
    facts: dict[str, tuple[int, float, str]]
    scale: float
    bias: float | None


def randomize(model: torch.nn.Module, scale: float = 2.5) -> None:
    """Weights with which every layer matters; a new model's norms are one and its biases zero."""
    torch.manual_seed(0)
    with torch.no_grad():
        for name, weight in model.named_parameters():
            if name == "logit_scale":
                weight.fill_(scale)
            elif name == "logit_bias":
                weight.fill_(-7.5)
            elif weight.ndim < 2:
                one = 1.0 if re.search(r"norm|ln_|bn\d|downsample", name) else 0.0
                weight.normal_(one if name.endswith("weight") else 0.0, 0.2)
            else:
                weight.normal_(0, weight[0].numel() ** -0.5)
        for name, value in model.named_buffers():
            if name.endswith("running_mean"):
                value.normal_(0, 0.2)
            elif name.endswith("running_var"):
                value.uniform_(0.5, 1)


def of_transformers(folder: Path) -> Reference:
    """The folder in transformers."""
    from transformers import AutoImageProcessor, AutoModel, AutoTokenizer, Siglip2Tokenizer

    model = AutoModel.from_pretrained(folder, dtype=torch.float32).eval()
    images = AutoImageProcessor.from_pretrained(folder, backend="pil")
    kind = (
        Siglip2Tokenizer
        if model.config.model_type == "siglip" and (folder / "tokenizer.json").is_file()
        else AutoTokenizer
    )
    tokenizer = kind.from_pretrained(folder)
    length = model.config.text_config.max_position_embeddings

    def ids(texts: Sequence[str]) -> npt.NDArray[np.int64]:
        told = tokenizer(list(texts), padding="max_length", truncation=True, max_length=length)
        return np.array(told.input_ids)

    def text_vectors(rows: npt.NDArray[np.int64]) -> npt.NDArray[np.float32]:
        told = {"attention_mask": torch.from_numpy(rows != tokenizer.pad_token_id).long()} if bert else {}
        return unit(model.get_text_features(torch.from_numpy(rows), **told).pooler_output)

    bert = model.config.model_type == "chinese_clip"

    words = model.text_model.encoder
    blocks = {"image": model.vision_model.encoder.layers, "text": words.layer if bert else words.layers}
    facts = {name: of_block(layers[-1]) for name, layers in blocks.items()}
    return Reference(
        pixels=lambda data: images(Image.open(io.BytesIO(data)), return_tensors="np").pixel_values[0],
        ids=ids,
        image_vectors=lambda pixels: unit(model.get_image_features(torch.from_numpy(pixels)).pooler_output),
        text_vectors=text_vectors,
        facts=facts,
        scale=model.logit_scale.exp().item(),
        bias=model.logit_bias.item() if hasattr(model, "logit_bias") else None,
    )


def of_open_clip(folder: Path) -> Reference:
    """The folder in open_clip."""
    import open_clip

    model, transform = open_clip.create_model_from_pretrained(f"local-dir:{folder}")
    model.eval()  # batch norms
    tokenizer = open_clip.get_tokenizer(f"local-dir:{folder}")
    text = getattr(model, "text", model)
    inner = text.transformer
    facts = {"text": of_block(inner.encoder.layer[-1] if hasattr(inner, "encoder") else inner.resblocks[-1])}
    if hasattr(model.visual, "attnpool"):
        facts["image"] = (model.visual.attnpool.num_heads, model.visual.bn1.eps, "relu")
    elif hasattr(model.visual, "trunk"):
        facts["image"] = of_block(model.visual.trunk.blocks[-1])
        if pool := model.visual.trunk.attn_pool:
            assert (pool.num_heads, activation_of(pool.mlp.act)) == facts["image"][::2]
    else:
        facts["image"] = of_block(model.visual.transformer.resblocks[-1])
    return Reference(
        pixels=lambda data: transform(Image.open(io.BytesIO(data))).numpy(),
        ids=lambda texts: tokenizer(list(texts)).numpy(),
        image_vectors=lambda pixels: unit(model.encode_image(torch.from_numpy(pixels))),
        text_vectors=lambda rows: unit(model.encode_text(torch.from_numpy(rows))),
        facts=facts,
        scale=model.logit_scale.exp().item(),
        bias=None if model.logit_bias is None else model.logit_bias.item(),
    )


def of_block(block: Any) -> tuple[int, float, str]:
    """Heads, epsilon and activation of a block of transformers, open_clip or timm."""
    if hasattr(block, "self_attn"):
        return block.self_attn.num_heads, block.layer_norm1.eps, activation_of(block.mlp.activation_fn)
    if hasattr(block, "intermediate"):
        act = activation_of(block.intermediate.intermediate_act_fn)
        return block.attention.self.num_attention_heads, block.output.LayerNorm.eps, act
    norm, act = getattr(block, "ln_1", None) or block.norm1, block.mlp
    return block.attn.num_heads, norm.eps, activation_of(getattr(act, "gelu", None) or act.act)


def unit(vectors: Any) -> npt.NDArray[np.float32]:
    """[N, D] of unit length."""
    return np.asarray(torch.nn.functional.normalize(vectors, dim=-1).detach())


def activation_of(module: Any) -> str:
    """Its name in an architecture."""
    kind = type(module).__name__
    if kind.lower().startswith("quickgelu"):
        return "quick_gelu"
    tanh = getattr(module, "approximate", "none") == "tanh" or "Tanh" in kind
    assert "GELU" in kind, kind
    return "gelu_tanh" if tanh else "gelu"


def clip_vocabulary(folder: Path) -> None:
    """OpenAI's, as its folders on the hub have it: vocab.json and merges.txt."""
    from open_clip import SimpleTokenizer

    original = SimpleTokenizer()
    names = dict(zip(("<start_of_text>", "<end_of_text>"), (START, END), strict=True))
    vocabulary = {names.get(token, token): number for token, number in original.encoder.items()}
    merges = sorted(original.bpe_ranks, key=original.bpe_ranks.__getitem__)
    (folder / "vocab.json").write_text(json.dumps(vocabulary))
    (folder / "merges.txt").write_text("#version: 0.2\n" + "\n".join(map(" ".join, merges)) + "\n")
    told = {"bos_token": START, "eos_token": END, "pad_token": END, "unk_token": END, "model_max_length": 77}
    (folder / "tokenizer_config.json").write_text(json.dumps(told))


def clip(folder: Path, config: dict[str, Any] | None = None, images: dict[str, Any] | None = None) -> Any:
    """CLIPModel with OpenAI's vocabulary, as transformers 5 saves it."""
    from transformers import CLIPConfig, CLIPImageProcessor, CLIPModel, CLIPTokenizer

    text = {**WORDS, **(config or {})}
    model = CLIPModel(
        CLIPConfig(text_config=text, vision_config={**SMALL, **IMAGES, **(config or {})}, projection_dim=40)
    )
    randomize(model)
    model.save_pretrained(folder)
    clip_vocabulary(folder)
    length = text.get("max_position_embeddings", 77)
    CLIPTokenizer.from_pretrained(folder, model_max_length=length).save_pretrained(folder)
    for name in ("vocab.json", "merges.txt"):
        (folder / name).unlink()
    sizes = {"size": {"shortest_edge": 64}, "crop_size": 64}
    CLIPImageProcessor(**(sizes | (images or {}))).save_pretrained(folder)
    return model


def clip_of_2022(folder: Path) -> None:
    """Its configuration has the text's facts in `text_config_dict`, and the wrong end of a text."""
    clip(folder)
    path = folder / "config.json"
    told = json.loads(path.read_text())
    told["text_config_dict"] = {**told["text_config"], "eos_token_id": 2}
    told["text_config"] = {"hidden_size": 999}
    path.write_text(json.dumps(told))
    (folder / "tokenizer.json").unlink()
    clip_vocabulary(folder)
    preprocessor: dict[str, Any] = dict.fromkeys(("do_center_crop", "do_normalize", "do_resize"), True)
    preprocessor |= {"crop_size": 64, "size": 64, "resample": 3}
    preprocessor |= {"image_mean": MEAN_STD["mean"], "image_std": MEAN_STD["std"]}
    (folder / "preprocessor_config.json").write_text(json.dumps(preprocessor))


def bert_vocabulary(folder: Path) -> int:
    """Single characters, in vocab.txt. Returns: how many."""
    letters = sorted(
        {letter for text in hurting_strings(2_000, seed=4) for letter in text if letter.isalnum()}
    )
    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    vocabulary = [*special, *letters, *(f"##{letter}" for letter in letters[:200]), *"!?.,;:'-"]
    (folder / "vocab.txt").write_text("\n".join(vocabulary) + "\n")
    return len(vocabulary)


def chinese_clip(folder: Path) -> None:
    """A BERT whose vocabulary is single characters, in vocab.txt, and a pickle of weights."""
    from transformers import ChineseCLIPConfig, ChineseCLIPImageProcessor, ChineseCLIPModel

    text = {**WORDS, "vocab_size": bert_vocabulary(folder), "max_position_embeddings": 52}
    model = ChineseCLIPModel(
        ChineseCLIPConfig(text_config=text, vision_config={**SMALL, **IMAGES}, projection_dim=40)
    )
    randomize(model)
    model.save_pretrained(folder)
    torch.save(model.state_dict(), folder / "pytorch_model.bin")
    (folder / "model.safetensors").unlink()
    ChineseCLIPImageProcessor(size={"shortest_edge": 64}, crop_size=64).save_pretrained(folder)


def metaclip_2(folder: Path) -> None:
    from transformers import CLIPImageProcessor, MetaClip2Config, MetaClip2Model

    text = {**WORDS, "vocab_size": xlm_r_tokenizer(folder), "eos_token_id": 2, "bos_token_id": 0}
    model = MetaClip2Model(
        MetaClip2Config(text_config=text, vision_config={**SMALL, **IMAGES}, projection_dim=40)
    )
    randomize(model)
    model.save_pretrained(folder)
    CLIPImageProcessor(size={"shortest_edge": 64}, crop_size=64).save_pretrained(folder)


def siglip(folder: Path) -> None:
    """With a SentencePiece model, and 50 pixels of which the patches of 16 leave 2."""
    import sentencepiece
    from transformers import SiglipTokenizer

    texts = [text for text in hurting_strings(4_000, seed=3) if text.strip() and text.isprintable()]
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(texts),
        model_prefix=str(folder / "spiece"),
        vocab_size=6_000,
        character_coverage=0.98,
        hard_vocab_limit=False,
        minloglevel=2,
        pad_id=0,
        eos_id=1,
        unk_id=2,
        bos_id=-1,
    )
    (folder / "spiece.vocab").unlink()
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
    from transformers import SiglipConfig, SiglipImageProcessor, SiglipModel

    text = {**SMALL, "vocab_size": vocabulary, "max_position_embeddings": 64}
    vision, size = {**SMALL, **IMAGES, "image_size": 50}, {"height": 50, "width": 50}
    model = SiglipModel(SiglipConfig(text_config=text, vision_config=vision))
    randomize(model)
    model.save_pretrained(folder)
    SiglipImageProcessor(size=size, resample=resample).save_pretrained(folder)


def fine_tune(folder: Path) -> None:
    """Another activation, mean, deviation, scale, filter and context length; squashed; shards in bf16."""
    images = {"image_mean": [0.1, 0.2, 0.3], "image_std": [0.4, 0.5, 0.6], "resample": 2}
    images |= {"do_center_crop": False, "size": {"height": 64, "width": 64}}
    config = {"hidden_act": "gelu", "layer_norm_eps": 1e-6, "max_position_embeddings": 64}
    model = clip(folder, config, images)
    randomize(model, scale=3.25)
    (folder / "model.safetensors").unlink()
    model.to(torch.bfloat16).save_pretrained(folder, max_shard_size="2MB")


def open_clip_folder(
    folder: Path, config: dict[str, Any], dtype: torch.dtype = torch.float32, **images: Any
) -> None:
    """As open_clip's `push_to_hf_hub` saves it."""
    import open_clip
    from safetensors.torch import save_file

    told = {"model_cfg": config, "preprocess_cfg": MEAN_STD | images}
    (folder / "open_clip_config.json").write_text(json.dumps(told))
    with torch.device("meta"):  # weights are drawn once, below
        model = open_clip.create_model(
            f"local-dir:{folder}", load_weights=False, pretrained_text=False, device="meta"
        )
    randomize(model.to_empty(device="cpu"))
    weights = {name: value.to(dtype).contiguous() for name, value in model.state_dict().items()}
    save_file(weights, folder / "open_clip_model.safetensors")


def plain(folder: Path) -> None:
    """With GELU, and heads of 80."""
    open_clip_folder(folder, PLAIN)


def resnet(folder: Path) -> None:
    """Of OpenAI's kind, whose weights are a pickle."""
    vision = {"image_size": 64, "layers": [1, 2, 1, 1], "width": 16, "head_width": 64, "patch_size": None}
    open_clip_folder(folder, {**PLAIN, "quick_gelu": True, "vision_cfg": vision})
    from safetensors.torch import load_file

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
    text = {
        **OPEN_CLIP_TEXT,
        "context_length": 64,
        "vocab_size": VOCABULARY,
        "hf_tokenizer_name": "timm/siglip",
    }
    text |= {"no_causal_mask": True, "proj_bias": True, "pool_type": "last", "norm_kwargs": {"eps": 1e-6}}
    text |= {"tokenizer_kwargs": {"clean": "canonicalize"}}
    vision = {"image_size": 256, "timm_model_name": "vit_base_patch32_siglip_256"}
    vision |= {"timm_model_pretrained": False, "timm_pool": "map", "timm_proj": "none"}
    model: dict[str, Any] = {"embed_dim": 768, "init_logit_bias": -10, "custom_text": True}
    model |= {"vision_cfg": vision, "text_cfg": text}
    open_clip_folder(folder, model, torch.float16, resize_mode="squash")


def biomedclip(folder: Path) -> None:
    """A plain ViT of timm and BERT-base, whose sizes are in their names: open_clip asks a hub for those of BERT."""
    from transformers import BertConfig

    (folder / "bert").mkdir()
    BertConfig().save_pretrained(folder / "bert")
    bert_vocabulary(folder)
    (folder / "tokenizer_config.json").write_text(json.dumps({"tokenizer_class": "BertTokenizer"}))
    text = {
        "hf_model_name": str(folder / "bert"),
        "hf_tokenizer_name": "a/bert",
        "hf_model_pretrained": False,
    }
    text |= {"hf_proj_type": "mlp", "hf_pooler_type": "cls_last_hidden_state_pooler", "context_length": 256}
    vision = {
        "image_size": 224,
        "timm_model_name": "vit_base_patch16_224",
        "timm_pool": "",
        "timm_proj": "linear",
    }
    open_clip_folder(folder, {"embed_dim": 512, "vision_cfg": vision, "text_cfg": text}, torch.float16)
    _name_bert(folder, "bert-base-uncased")


def _name_bert(folder: Path, name: str) -> None:
    path = folder / "open_clip_config.json"
    told = json.loads(path.read_text())
    told["model_cfg"]["text_cfg"]["hf_model_name"] = name
    path.write_text(json.dumps(told))


def of_biomedclip(folder: Path) -> Reference:
    _name_bert(folder, str(folder / "bert"))
    return of_open_clip(folder)


# What is saved -> how, and the library that reads it
SAVED: dict[str, tuple[Callable[[Path], Any], Callable[[Path], Reference]]] = {
    "CLIP": (clip, of_transformers),
    "CLIP of 2022": (clip_of_2022, of_transformers),
    "Chinese-CLIP": (chinese_clip, of_transformers),
    "MetaCLIP 2": (metaclip_2, of_transformers),
    "SigLIP": (siglip, of_transformers),
    "SigLIP2": (siglip2, of_transformers),
    "a fine-tune": (fine_tune, of_transformers),
    "open_clip": (plain, of_open_clip),
    "open_clip, quick-gelu, fp16": (quick, of_open_clip),
    "open_clip, ResNet, a pickle": (resnet, of_open_clip),
    "open_clip, eos": (eos, of_open_clip),
    "open_clip, SigLIP of timm": (timm_siglip, of_open_clip),
    "open_clip, BiomedCLIP": (biomedclip, of_biomedclip),
}
