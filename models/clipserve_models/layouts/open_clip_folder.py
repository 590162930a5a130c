"""Folders of open_clip (`hf-hub:`), and its weights alone with the name of their architecture."""

from __future__ import annotations

import difflib
import json
from pathlib import Path
from typing import Any

from clipserve.clip.manifest import Cleaning, ImageSpec
from clipserve_models.architecture import (
    Activation,
    AnyImageTower,
    AnyTextTower,
    Architecture,
    Bert,
    ImageTower,
    ResNet,
    TextTower,
)
from clipserve_models.errors import ModelsError, NotBuilt
from clipserve_models.layouts.assigning import Assignment, weight_files
from clipserve_models.layouts.facts import Facts, read_facts
from clipserve_models.layouts.open_clip_tensors import assign_image, assign_text
from clipserve_models.layouts.texts import Texts, TextShape, open_clip_texts, read_texts
from clipserve_models.layouts.vit_of_timm import only, timm_tower
from clipserve_models.model_files import Checkpoint, UserFacts
from clipserve_models.roles import roles
from clipserve_models.weights import OPEN_CLIP

CONFIG = "open_clip_config.json"
# Those of open_clip's own configurations that are read here, as tools/architectures.py copies them.
ARCHITECTURES = Path(__file__).with_name("architectures.json")

CLEANING: dict[str, Cleaning] = {each: each for each in ("lower", "whitespace", "canonicalize")}

_MODEL = {"embed_dim", "vision_cfg", "text_cfg", "quick_gelu", "custom_text"}
_MODEL |= {"init_logit_scale", "init_logit_bias", "nonscalar_logit_scale"}
_TOWER = {"width", "layers", "mlp_ratio", "act_kwargs", "norm_kwargs"}
_VISION = _TOWER | {"image_size", "patch_size", "head_width", "no_ln_pre", "pool_type", "pos_embed_type"}
_TEXT = _TOWER | {"context_length", "vocab_size", "heads", "no_causal_mask", "pool_type", "eos_id"}
_TEXT |= {"proj_bias", "proj_type", "hf_tokenizer_name", "tokenizer_kwargs"}
_HF = {
    "hf_model_name",
    "hf_tokenizer_name",
    "hf_proj_type",
    "hf_pooler_type",
    "context_length",
    "tokenizer_kwargs",
}
# Those that have the sizes of BERT-base and its vocabulary's.
_BERTS = ("microsoft/BiomedNLP-BiomedBERT-base-uncased-abstract", "bert-base-uncased")
_BERT_BASE = {"width": 768, "layers": 12, "heads": 12, "mlp": 3072, "vocabulary": 30_522}


def read_open_clip(folder: Path, by_user: UserFacts) -> Checkpoint:
    """The model of a folder, or of a repository of the hub. `by_user`: for a configuration that does not say it.

    Raises:
        ModelsError: it is of another family, or its files lack or contradict something.
    """
    config = read_facts(folder / CONFIG)
    return _read(folder, config, weight_files(folder, OPEN_CLIP), by_user, (folder / CONFIG,))


def known() -> dict[str, Any]:
    """open_clip's own configurations of models that are built, by their names there."""
    configurations: dict[str, Any] = json.loads(ARCHITECTURES.read_text("utf-8"))
    return configurations


def read_single(file: Path, name: str, by_user: UserFacts) -> Checkpoint:
    """The model of a file of weights alone. `name`: its architecture in open_clip.

    Raises:
        NotBuilt: no such architecture.
        ModelsError: mean or deviation is not told; the weights are of another architecture.
    """
    if by_user.mean is None or by_user.std is None:
        raise ModelsError(
            f"{file} does not say how images are normalised: give --mean and --std as in its training, three "
            "numbers each."
        )
    configurations = known()
    if name not in configurations:
        close = difflib.get_close_matches(name, configurations, n=4, cutoff=0.5) or sorted(configurations)[:8]
        raise NotBuilt(f"no architecture {name!r} of open_clip is built here. Similar: {', '.join(close)}.")
    config = configurations[name]
    if by_user.activation is not None:
        if by_user.activation == "gelu_tanh" or "timm_model_name" in config["model_cfg"]["vision_cfg"]:
            raise ModelsError(
                f"the activation of {name} cannot be {by_user.activation}: give the architecture that has it."
            )
        config["model_cfg"]["quick_gelu"] = by_user.activation == "quick_gelu"
    return _read(file.parent, Facts(f"{name} of open_clip", config), [file], by_user, ())


def _read(
    folder: Path, config: Facts, weights: list[Path], by_user: UserFacts, files: tuple[Path, ...]
) -> Checkpoint:
    model = config.section("model_cfg")
    try:
        architecture = architecture_of(model)
    except ModelsError as error:
        raise NotBuilt(str(error)) from None
    images = config.section("preprocess_cfg", {})
    image = image_of(images, architecture.image.size)
    texts = texts_of(folder, model.section("text_cfg"), architecture.text)
    found = Assignment.of_files(weights)
    assign_image(found, architecture.image)
    assign_text(found, architecture.text)
    return Checkpoint(
        architecture=architecture,
        scoring=found.scoring(sigmoid="init_logit_bias" in model),
        tensors=found.finished(roles(architecture)),
        image=image,
        mean=images.triple("mean", by_user.mean),
        std=images.triple("std", by_user.std),
        text=texts.spec,
        tokenizer=texts.tokenizer,
        files=(*files, *texts.files, *weights),
    )


def image_of(images: Facts, size: int) -> ImageSpec:
    """From `preprocess_cfg`; `size`: the encoder's. Raises ModelsError: they differ, or it is not supported."""
    if images.side("size", size) != size:
        images.refuse("size", f"vision_cfg.image_size is {size}")
    filters = {"bicubic": "bicubic", "bilinear": "bilinear"}
    return ImageSpec(
        size=size,
        resize=images.choice("resize_mode", {"shortest": "shortest", "squash": "squash"}, "shortest"),
        interpolation=images.choice("interpolation", filters, "bicubic"),
    )


def architecture_of(model: Facts) -> Architecture:
    """From `model_cfg`. Raises ModelsError: it says something that is not built here."""
    only(model, _MODEL)
    return Architecture(image_tower(model), text_tower(model), model.integer("embed_dim"))


def image_tower(model: Facts) -> AnyImageTower:
    """From `model_cfg`. Raises ModelsError: it is of a kind that is not built here."""
    vision = model.section("vision_cfg")
    if "timm_model_name" in vision:
        return timm_tower(vision, model.integer("embed_dim"))
    only(vision, _VISION)
    for key, value in (("pool_type", "tok"), ("pos_embed_type", "learnable")):
        vision.choice(key, {value: value}, value)
    head = max(vision.integer("head_width", 64), 1)
    if isinstance(vision.get("layers", 12), list):
        stem, size = vision.integer("width", 64), vision.side("image_size", 224)
        return ResNet(size, stem, tuple(vision.integers("layers")), heads=32 * stem // head)
    width = vision.integer("width", 768)
    return ImageTower(
        **_tower(vision, width, model.flag("quick_gelu", False)),
        heads=width // head,
        size=vision.side("image_size", 224),
        patch=vision.side("patch_size", 16),
        pooling="class",
        pre_norm=not vision.flag("no_ln_pre", False),
        patch_bias=False,
        projection=True,
    )


def text_tower(model: Facts) -> AnyTextTower:
    """From `model_cfg`. Raises ModelsError: it is of a kind that is not built here."""
    text = model.section("text_cfg")
    if "hf_model_name" in text:
        return _bert(text, model.integer("embed_dim"))
    only(text, _TEXT)
    text.choice("proj_type", {"linear": "linear"}, "linear")
    return TextTower(
        **_tower(text, text.integer("width", 512), model.flag("quick_gelu", False)),
        heads=text.integer("heads", 8),
        vocabulary=text.integer("vocab_size", 49408),
        context_length=text.integer("context_length", 77),
        causal=not text.flag("no_causal_mask", False),
        pooling=text.choice("pool_type", {"argmax": "eot", "eos": "eot", "last": "last"}, "argmax"),
        projection_bias=text.flag("proj_bias", False),
    )


def _bert(text: Facts, dim: int) -> Bert:
    """A BERT of transformers, whose sizes its name alone says."""
    text.choice("hf_model_name", dict.fromkeys(_BERTS))
    only(text, _HF)
    text.choice("hf_pooler_type", dict.fromkeys(("cls_last_hidden_state_pooler",)), "mean_pooler")
    hidden = text.choice("hf_proj_type", {"mlp": (_BERT_BASE["width"] + dim) // 2, "linear": None}, "mlp")
    length = text.integer("context_length", 77)
    return Bert(**_BERT_BASE, activation="gelu", epsilon=1e-12, context_length=length, hidden=hidden)


def _tower(facts: Facts, width: int, quick: bool) -> dict[str, Any]:
    act, norm = facts.section("act_kwargs", {}), facts.section("norm_kwargs", {})
    only(act, ("approximate",))
    only(norm, ("eps",))
    exact: dict[str, Activation] = {"none": "gelu", "tanh": "gelu_tanh"}
    if quick and act.values:
        facts.refuse("act_kwargs", "model_cfg.quick_gelu has none")
    return {
        "width": width,
        "layers": facts.integer("layers", 12),
        "mlp": int(width * facts.number("mlp_ratio", 4.0)),
        "activation": "quick_gelu" if quick else act.choice("approximate", exact, "none"),
        "epsilon": norm.number("eps", 1e-5),
    }


def texts_of(folder: Path, facts: Facts, tower: TextShape) -> Texts:
    """The tokenizer that `text_cfg` asks for. Raises ModelsError: see `read_texts`."""
    options = facts.section("tokenizer_kwargs", {})
    only(options, ("clean",))
    if facts.text("hf_tokenizer_name", "") == "":
        facts.choice("vocab_size", {49408: 49408}, 49408)  # those of open_clip's own tokenizer
        texts = open_clip_texts(tower, options.choice("clean", CLEANING, "lower"))
    else:
        cleaning = options.choice("clean", CLEANING, "whitespace")
        texts = read_texts(folder, "", tower, cleaning, cuts=False)
    if tower.pooling == "eot":
        by_highest = facts.text("pool_type", "argmax") == "argmax"
        end = tower.vocabulary - 1 if by_highest else facts.integer("eos_id", 2)
        if end != texts.spec.eot_id:
            key = "vocab_size" if by_highest else "eos_id"
            facts.refuse(
                key, f"the tokenizer's end of a text, where the model pools, has the id {texts.spec.eot_id}"
            )
    return texts
