"""Models that no builder knows: open_clip's own modules, traced by torch.onnx where PyTorch is installed.

An encoder that `layouts` knows is built from the model's weights, as in `build`. Another one becomes a module that
takes what the service sends, and gives vectors of unit length. open_clip computes the expected vectors.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import open_clip
import torch
from open_clip.model import QuickGELU
from timm.utils import reparameterize_model
from torch import Tensor, nn

from clipserve.clip.manifest import ImageSpec, ModelManifest, Source
from clipserve.clip.reference import REFERENCE_TEXTS, reference_pixels
from clipserve.clip.reference_inputs import TOKEN_TEXTS
from clipserve_models import tensors
from clipserve_models.errors import ModelsError, first_line, not_from_hub
from clipserve_models.finishing import Described, Expected, expect, make
from clipserve_models.graphs.file import INLINE_BYTES, IR_VERSION, OPSET
from clipserve_models.graphs.towers import write_image, write_text
from clipserve_models.graphs.weights import image_weights, text_weights
from clipserve_models.layouts import open_clip_folder as layout
from clipserve_models.layouts.assigning import Assignment
from clipserve_models.layouts.facts import Facts, read_facts
from clipserve_models.layouts.open_clip_tensors import assign_image, assign_text
from clipserve_models.layouts.texts import TextGraph, Texts, TextShape, open_clip_texts, spec_of


def trace(
    model_name: str,
    out: Path,
    *,
    name: str,
    source: Source,
    weights: Path | None,
    tag: Mapping[str, Any],
    say: Callable[[str], None] = print,
) -> ModelManifest:
    """Write the artifact `name` to the folder `out`, as `make` does.

    `model_name`: open_clip's, or `local-dir:FOLDER`; `weights`: their file, None for random ones; `tag`: what
    open_clip's tag of these weights says besides the configuration.

    Raises:
        ModelsError: the weights are of another model, it cannot be exported, or the graphs differ from it.
    """
    with torch.no_grad(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        say(f"loading {source.checkpoint} into open_clip")
        config = _configuration(model_name)
        model = load(model_name, weights, tag)
        config.values["quick_gelu"] = any(isinstance(each, QuickGELU) for each in model.modules())
        plain = {k: list(v) if isinstance(v, tuple) else v for k, v in model.visual.preprocess_cfg.items()}
        images = Facts(config.file, plain, "preprocess_cfg.")
        spec, side = layout.image_of(images, images.side("size")), images.side("size")
        towers = _known(layout.image_tower, config), _known(layout.text_tower, config)
        texts, original = _texts(model_name, config, towers[1])
        expected = _expected(model, spec, original)  # before an encoder is changed to be traced
        state = {key: _read(each) for key, each in model.state_dict().items()}
        found = Assignment("open_clip's model", state)
        scoring = found.scoring(sigmoid="logit_bias" in found)
        weigh = partial(image_weights, mean=images.triple("mean", None), std=images.triple("std", None))
        pixels = torch.zeros(2, side, side, 3, dtype=torch.uint8)
        ids = torch.ones(2, texts.spec.context_length, dtype=torch.int32)
        by_torch = partial(write_traced, module=Encoder(model))
        writer = partial(_writer, config, found)
        image = writer(towers[0], assign_image, weigh, write_image) or partial(by_torch, pixels=pixels)
        text = writer(towers[1], assign_text, text_weights, write_text)
        text = text or partial(by_torch, token_ids=ids, lengths=ids[:, 0])
        for what, tower in zip(("image", "text"), towers, strict=True):
            say(f"the {what} encoder is {'built' if tower else 'traced'}")
        described = Described(name, spec, texts.spec, scoring, source)
        return make(out, described, texts.tokenizer, image, text, lambda _: expected, say)


def load(model_name: str, weights: Path | None, tag: Mapping[str, Any]) -> Any:
    """open_clip's model in evaluation mode, fp32; see `trace`."""
    try:
        model = open_clip.create_model(
            model_name,
            load_weights=False,  # with a tag's weights open_clip would leave out the tag's activation
            force_quick_gelu=tag.get("quick_gelu", False),
            force_preprocess_cfg=dict(tag),  # it takes what it knows
            pretrained_text=False,  # the checkpoint also has the weights of a text encoder of transformers
        )
    except OSError as error:  # from transformers, which looks for its encoder's configuration
        raise not_from_hub(f"the configuration of {model_name}'s text encoder", error) from None
    try:
        if weights:
            open_clip.load_checkpoint(
                model, str(weights)
            )  # of a pickle only what torch's `weights_only` allows
    except Exception as error:  # the exception depends on whether the file is truncated or of another model
        raise ModelsError(f"{weights} does not hold weights of this model: {first_line(error)}") from None
    return model.eval()


class Encoder(nn.Module):
    """One of the two: what the service sends -> float32 [N, D] of unit length."""

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.model = model
        mean, std = (torch.tensor(model.visual.preprocess_cfg[key])[:, None, None] for key in ("mean", "std"))
        self.scale, self.shift = nn.Buffer(1 / (255 * std)), nn.Buffer(mean / std)

    def forward(self, rows: Tensor, lengths: Tensor | None = None) -> Tensor:
        """Pixels uint8 [N, S, S, 3]; or token ids int32 [N, L] and their lengths, which it does not need."""
        if lengths is not None:
            return self.model.encode_text(rows.to(torch.int64), normalize=True)
        images = rows.to(torch.float32).permute(0, 3, 1, 2)  # the cast comes first, as TensorRT wants it
        return self.model.encode_image(images * self.scale - self.shift, normalize=True)


def write_traced(path: Path, module: nn.Module, **inputs: Tensor) -> None:
    """Write the graph of an `Encoder`; `inputs`: two rows of each, by name."""
    reparameterize_model(module, inplace=True)  # of MobileCLIP: the same function in fewer steps
    rows = tuple(inputs.values())
    shapes = ({0: torch.export.Dim("N")},) * len(rows)
    program: Any = torch.onnx.export(
        module.eval(), rows, input_names=[*inputs], opset_version=OPSET, dynamic_shapes=shapes, verbose=False
    )
    graph, program.model.ir_version = program.model.graph, IR_VERSION
    first = next(node for node in graph if node.op_type == "Cast" and node.inputs[0] is graph.inputs[0])
    for node in graph:
        node.metadata_props.clear()  # paths of this machine
        if (
            node.op_type == "Shape" and node.inputs[0] is graph.inputs[0]
        ):  # uint8 is for casts only in TensorRT
            node.replace_input_with(0, first.outputs[0])
        for value in node.outputs:
            value.name = f"traced/{value.name}"
    graph.outputs[0].name = "embedding"
    graph.sort()
    large = sum(each.const_value.nbytes for each in graph.initializers.values()) > INLINE_BYTES
    program.save(path, external_data=large)


def _configuration(model_name: str) -> Facts:
    """`model_cfg`. Raises ModelsError: there is none."""
    if (folder := model_name.removeprefix("local-dir:")) != model_name:
        return read_facts(Path(folder) / layout.CONFIG).section("model_cfg")
    if (config := open_clip.get_model_config(model_name)) is None:
        raise ModelsError(f"open_clip has no model {model_name!r}. `clipserve models list` has some names.")
    return Facts(f"open_clip's {model_name}", config)


def _read(weights: Tensor) -> tensors.Tensor:
    return tensors.Tensor(tuple(weights.shape), weights.float().numpy, weights.is_floating_point())


def _known(read: Callable[[Facts], Any], config: Facts) -> Any:
    """The tower that `read` finds; None: it is of a kind that must be traced."""
    with suppress(ModelsError):
        return read(config)


def _writer(config: Facts, found: Assignment, tower: Any, assign: Any, weigh: Any, write: Any) -> Any:
    """What builds the graph of `tower`, if it is known."""
    if tower is None:
        return None
    assign(found, tower)
    return partial(
        write, tower=tower, embed_dim=config.integer("embed_dim"), weights=weigh(tower, found.roles)
    )


def _texts(model_name: str, config: Facts, tower: TextShape | None) -> tuple[Texts, Any]:
    """The tokenizer, and open_clip's own. Raises ModelsError: it cannot be loaded."""
    try:
        original: Any = open_clip.get_tokenizer(model_name)
    except Exception as error:  # transformers, huggingface_hub and httpx each have exceptions of their own
        raise not_from_hub(f"the tokenizer of {model_name}", error) from None
    shape, own = tower or TextGraph(original.context_length), hasattr(original, "bpe_ranks")
    options = config.section("text_cfg").section("tokenizer_kwargs", {})
    cleaning = options.choice("clean", layout.CLEANING, "lower" if own else "whitespace")
    if own:
        return open_clip_texts(shape, cleaning), original
    fast = original.tokenizer  # transformers' own, which already holds a tokenizers.Tokenizer
    end = fast.sep_token_id if fast.eos_token_id is None else fast.eos_token_id
    return Texts(fast.backend_tokenizer, spec_of(shape, fast.pad_token_id, end, cleaning)), original


def _expected(model: Any, image: ImageSpec, original: Any) -> Expected:
    """What open_clip gives, of texts padded to the full context length."""
    mean, std = (np.array(model.visual.preprocess_cfg[key]) for key in ("mean", "std"))
    images = ((reference_pixels(image.size) / 255 - mean) / std).astype(np.float32).transpose(0, 3, 1, 2)
    vectors = model.encode_image(torch.from_numpy(images), normalize=True).numpy()
    texts = model.encode_text(original([*REFERENCE_TEXTS]), normalize=True).numpy()
    return expect("PyTorch", image, vectors, texts, original([*TOKEN_TEXTS]).numpy())
