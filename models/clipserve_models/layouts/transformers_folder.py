"""Folders of transformers' CLIPModel, ChineseCLIPModel, MetaClip2Model and SiglipModel."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

from clipserve.clip.manifest import ImageSpec
from clipserve_models.architecture import Activation, AnyTextTower, Architecture, Bert, ImageTower, TextTower
from clipserve_models.layouts.assigning import Assignment, weight_files
from clipserve_models.layouts.facts import Facts, read_facts
from clipserve_models.layouts.texts import Texts, read_texts
from clipserve_models.layouts.transformers_tensors import assign
from clipserve_models.model_files import Checkpoint, Triple, UserFacts
from clipserve_models.roles import roles
from clipserve_models.weights import TRANSFORMERS

CONFIG = "config.json"
# What transformers' classes of configurations take for a key that config.json does not have.
_CLIP_TEXT = {
    "num_hidden_layers": 12,
    "vocab_size": 49408,
    "hidden_size": 512,
    "intermediate_size": 2048,
    "num_attention_heads": 8,
    "max_position_embeddings": 77,
    "hidden_act": "quick_gelu",
    "layer_norm_eps": 1e-5,
    "eos_token_id": 49407,
}
_CLIP_VISION = _CLIP_TEXT | {
    "hidden_size": 768,
    "intermediate_size": 3072,
    "num_attention_heads": 12,
    "image_size": 224,
    "patch_size": 32,
}
_SIGLIP_VISION = _CLIP_VISION | {"patch_size": 16, "hidden_act": "gelu_pytorch_tanh", "layer_norm_eps": 1e-6}
_SIGLIP_TEXT = _SIGLIP_VISION | {"vocab_size": 32000, "max_position_embeddings": 64}
_BERT_TEXT = _CLIP_VISION | {"vocab_size": 30522, "max_position_embeddings": 512}
_BERT_TEXT |= {"hidden_act": "gelu", "layer_norm_eps": 1e-12}
# model_type -> its class, its tokenizer where no file names one, and the defaults
_KINDS: dict[str, tuple[str, str, dict[str, Any], dict[str, Any]]] = {
    "clip": ("CLIPModel", "CLIPTokenizer", _CLIP_TEXT, _CLIP_VISION),
    "chinese_clip": ("ChineseCLIPModel", "BertTokenizer", _BERT_TEXT, _CLIP_VISION),
    "metaclip_2": ("MetaClip2Model", "XLMRobertaTokenizer", _CLIP_TEXT, _CLIP_VISION),
    "siglip": ("SiglipModel", "SiglipTokenizer", _SIGLIP_TEXT, _SIGLIP_VISION),
}
_ACTIVATIONS: dict[str, Activation] = {
    "gelu": "gelu",
    "quick_gelu": "quick_gelu",
    "gelu_pytorch_tanh": "gelu_tanh",
}
_FG_CLIP = "FGCLIPModel"
# Its tensors for regions of images, and for texts of more than 77 tokens: its vectors need none of them.
_FG_CLIP_OTHERS: tuple[str, ...] = (
    "text_filip_projection.weight",
    "logit_scale_finegraind",
    "logit_scale_hardneg",
)
_FG_CLIP_OTHERS += tuple(f"text_model.embeddings.position_embedding_{each}.weight" for each in ("res", "ori"))
_RESAMPLE = {2: "bilinear", 3: "bicubic"}  # Pillow's numbers


def read_transformers(folder: Path, by_user: UserFacts) -> Checkpoint:
    """The model of a folder, or of a repository of the hub. `by_user`: for a preprocessor that does not say it.

    Raises:
        ModelsError: it is of another family, or its files lack or contradict something.
    """
    config = read_facts(folder / CONFIG)
    tokenizer_class, text, vision = _kind(config)
    told = _told(config, "text", text)
    architecture = _architecture(config, told, _told(config, "vision", vision))
    image, mean, std, preprocessor = _preprocessing(folder, architecture.image.size, by_user)
    texts = read_texts(folder, tokenizer_class, architecture.text)
    _check_lengths(config, told, texts, architecture)
    places = architecture.text.context_length
    cut = replace(architecture.text, context_length=texts.spec.context_length)
    architecture = replace(architecture, text=cut)
    weights = weight_files(folder, TRANSFORMERS)
    found = Assignment.of_files(weights)
    if config.get("architectures", []) == [_FG_CLIP]:
        found.leave(_FG_CLIP_OTHERS)
    assign(found, architecture, places)
    return Checkpoint(
        architecture=architecture,
        scoring=found.scoring(sigmoid=architecture.text.pooling == "last"),
        tensors=found.finished(roles(architecture)),
        image=image,
        mean=mean,
        std=std,
        text=texts.spec,
        tokenizer=texts.tokenizer,
        files=(folder / CONFIG, preprocessor, *texts.files, *weights),
    )


def _kind(config: Facts) -> tuple[str, dict[str, Any], dict[str, Any]]:
    """The tokenizer where no file names one, and the defaults of text_config and vision_config.

    A CLIP may have code of its own, `auto_map`, as BGE-VL and FG-CLIP do: it is built if its tensors are CLIP's.
    """
    model_type = config.text("model_type")
    if "auto_map" in config and model_type != "clip":
        config.refuse("auto_map", "this is code of the repository's own, which is never run")
    if model_type == "siglip2":
        config.refuse("model_type", "this is NaFlex, for images of any shape; take one of a fixed resolution")
    if model_type not in _KINDS:
        config.refuse("model_type", f"supported: {', '.join(_KINDS)}")
    architecture, tokenizer_class, text, vision = _KINDS[model_type]
    classes = [architecture], *([[_FG_CLIP]] if model_type == "clip" else [])
    if config.get("architectures", [architecture]) not in classes:
        config.refuse("architectures", f"{architecture} is needed, which has both encoders")
    return tokenizer_class, text, vision


def _told(config: Facts, which: str, defaults: dict[str, Any]) -> Facts:
    """text_config or vision_config with all keys. In files of 2022, `..._config_dict` replaces it."""
    section = config.section(f"{which}_config", {})
    values = defaults | section.values
    if f"{which}_config_dict" in config:
        values |= defaults | config.section(f"{which}_config_dict").values
    return Facts(config.file, values, f"{which}_config.")


def _architecture(config: Facts, text: Facts, vision: Facts) -> Architecture:
    siglip = config.text("model_type") == "siglip"
    if siglip and not vision.flag("vision_use_head", True):
        vision.refuse("vision_use_head", "without its head SigLIP gives no vector")
    if vision.integer("num_channels", 3) != 3:
        vision.refuse("num_channels", "3 are needed")
    dim = vision.integer("hidden_size") if siglip else config.integer("projection_dim", 512)
    if siglip and text.integer("projection_size", text.integer("hidden_size")) != dim:
        text.refuse("projection_size", f"vision_config.hidden_size is {dim}, and the two must be equal")
    image = ImageTower(
        **_tower(vision),
        size=vision.side("image_size"),
        patch=vision.side("patch_size"),
        pooling="attention" if siglip else "class",
        pre_norm=not siglip,
        patch_bias=siglip,
        projection=not siglip,
    )
    told: dict[str, Any] = {
        "vocabulary": text.integer("vocab_size"),
        "context_length": text.integer("max_position_embeddings"),
    }
    words: AnyTextTower
    if config.text("model_type") == "chinese_clip":
        text.choice("position_embedding_type", {"absolute": "absolute"}, "absolute")
        words = Bert(**_tower(text), **told)
    else:
        words = TextTower(
            **_tower(text),
            **told,
            causal=not siglip,
            pooling="last" if siglip else "eot",
            projection_bias=siglip,
        )
    return Architecture(image, words, dim)


def _tower(facts: Facts) -> dict[str, Any]:
    return {
        "width": facts.integer("hidden_size"),
        "layers": facts.integer("num_hidden_layers"),
        "heads": facts.integer("num_attention_heads"),
        "mlp": facts.integer("intermediate_size"),
        "activation": facts.choice("hidden_act", _ACTIVATIONS),
        "epsilon": facts.number("layer_norm_eps"),
    }


def _preprocessing(folder: Path, size: int, by_user: UserFacts) -> tuple[ImageSpec, Triple, Triple, Path]:
    """From preprocessor_config.json, or where transformers 5 also puts it."""
    path = folder / "preprocessor_config.json"
    if not path.is_file() and (folder / "processor_config.json").is_file():
        path = folder / "processor_config.json"
        facts = read_facts(path).section("image_processor")
    else:
        facts = read_facts(path)
    for step in ("do_resize", "do_rescale", "do_normalize"):
        if not facts.flag(step, True):
            facts.refuse(step, "images without this step are not supported")
    if facts.flag("do_pad", False):
        facts.refuse("do_pad", "padded images are not supported")
    if abs(facts.number("rescale_factor", 1 / 255) - 1 / 255) > 1e-9:
        facts.refuse("rescale_factor", "1/255 is needed")
    shortest = isinstance(facts.get("size"), int) or list(facts.get("size")) == ["shortest_edge"]
    if shortest and not facts.flag("do_center_crop", True):
        facts.refuse("size", "images whose shorter side has this size, uncropped, are not square")
    crops = shortest or facts.flag("do_center_crop", False)
    for key in ("size", "crop_size") if crops else ("size",):
        if facts.side(key) != size:
            facts.refuse(key, f"{size} is needed, which {CONFIG} says in vision_config.image_size")
    image = ImageSpec(
        size=size,
        resize="shortest" if shortest else "squash",
        interpolation=facts.choice("resample", _RESAMPLE),
    )
    return image, facts.triple("image_mean", by_user.mean), facts.triple("image_std", by_user.std), path


def _check_lengths(config: Facts, text: Facts, texts: Texts, architecture: Architecture) -> None:
    """The model pools where a text ends: configuration and tokenizer must mean the same place."""
    if architecture.text.pooling != "eot":
        return
    eos = text.integer("eos_token_id")
    if config.text("model_type") == "clip" and eos == 2:
        # Files from before transformers 4.31 say 2, and mean the highest id.
        eos = max(texts.tokenizer.get_vocab(with_added_tokens=True).values())
    if eos != texts.spec.eot_id:
        text.refuse("eos_token_id", f"the tokenizer's end of a text has the id {texts.spec.eot_id}")
