"""Imports ready ONNX graphs of other exporters, told apart by their files: immich's and transformers.js's.

The graphs keep their nodes; `surgery` changes what is in front and behind. They are compared
with themselves as they were.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import numpy.typing as npt

from clipserve.clip import reference
from clipserve.clip.manifest import ImageSpec, ModelManifest, ScoringSpec, Source
from clipserve.clip.tokenizer import Tokenizer
from clipserve_models import verify
from clipserve_models.errors import ModelsError
from clipserve_models.finishing import Described, Expected, expect, ids_by_service, make
from clipserve_models.imported.surgery import Surgery, output_of
from clipserve_models.layouts.facts import read_facts
from clipserve_models.layouts.open_clip_folder import image_of, texts_of
from clipserve_models.layouts.texts import TextGraph, Texts
from clipserve_models.layouts.transformers_folder import described
from clipserve_models.model_files import Triple


@dataclass(frozen=True)
class _Export:
    """Two graphs, and the facts around them."""

    kind: str
    image_graph: Path
    text_graph: Path
    dim: int
    image: ImageSpec
    mean: Triple
    std: Triple
    texts: Texts


def import_folder(
    folder: Path,
    out: Path,
    *,
    name: str,
    scoring: ScoringSpec,
    licence: str,
    say: Callable[[str], None] = print,
) -> ModelManifest:
    """Write the artifact of the graphs in `folder` to `out`, and check it; `say` gets each stage.

    Raises:
        ModelsError: no known export, its files lack or contradict something, or a graph cannot be changed.
    """
    export = _read(folder)
    size, text = export.image.size, export.texts.spec
    say(f"importing the graphs of {export.kind}: vectors are those of that export")
    image, words = Surgery.of(export.image_graph), Surgery.of(export.text_graph)
    image.images(size, export.mean, export.std)
    words.texts(text.context_length)
    source = Source(checkpoint=f"ONNX of {export.kind}: {folder.resolve().name}", licence=licence)
    described = Described(name, export.image, text, scoring, source)

    def expected(tokenizer: Tokenizer) -> Expected:
        """The vectors of the graphs as they were."""
        pixels = _as_before(image, reference.reference_pixels(size), export.mean, export.std)
        rows = tokenizer.encode(reference.REFERENCE_TEXTS, truncate=True)
        token_ids, _ = tokenizer.pad(rows, text.context_length)
        images = _vectors(export.image_graph, pixels)
        texts = _vectors(export.text_graph, _ids_as_before(words, token_ids))
        return expect("the export", export.image, images, texts, ids_by_service(tokenizer, text))

    save = partial(image.save, dim=export.dim), partial(words.save, dim=export.dim)
    return make(out, described, export.texts.tokenizer, *save, expected, say)


def _read(folder: Path) -> _Export:
    """Raises ModelsError: it is no export of these two, or its facts are missing."""
    if (folder / "visual" / "model.onnx").is_file():
        return _immich(folder)
    if (folder / "onnx" / "vision_model.onnx").is_file():
        told = described(folder)
        texts = Texts(told.texts.tokenizer, told.texts.spec.model_copy(update={"padding": "fixed"}))
        dim = told.architecture.embed_dim
        onnx = folder / "onnx"
        graphs = onnx / "vision_model.onnx", onnx / "text_model.onnx"
        return _Export("transformers.js", *graphs, dim, told.image, told.mean, told.std, texts)
    raise ModelsError(
        f"{folder} has neither visual/model.onnx (immich) nor onnx/vision_model.onnx (transformers.js): "
        "other exports are not imported."
    )


def _immich(folder: Path) -> _Export:
    config, images = read_facts(folder / "config.json"), read_facts(folder / "visual" / "preprocess_cfg.json")
    text = config.section("text_cfg")
    tower = TextGraph(text.integer("context_length", 77), text.integer("vocab_size", TextGraph.vocabulary))
    return _Export(
        "immich",
        folder / "visual" / "model.onnx",
        folder / "textual" / "model.onnx",
        config.integer("embed_dim"),
        image_of(images, config.section("vision_cfg").side("image_size", 224)),
        images.triple("mean", None),
        images.triple("std", None),
        texts_of(folder / "textual", text, tower),
    )


def _as_before(
    graph: Surgery, pixels: npt.NDArray[np.uint8], mean: Triple, std: Triple
) -> dict[str, npt.NDArray[np.generic]]:
    (name,) = graph.inputs
    if graph.takes_pixels:
        return {name: pixels}
    normalised = (pixels / 255 - np.array(mean)) / np.array(std)
    return {name: normalised.transpose(0, 3, 1, 2).astype(np.float32)}


def _ids_as_before(graph: Surgery, token_ids: npt.NDArray[np.int32]) -> dict[str, npt.NDArray[np.generic]]:
    given = {
        name: np.ones_like(token_ids) if name == "attention_mask" else token_ids for name in graph.inputs
    }
    return {name: values.astype(graph.dtype_of(name)) for name, values in given.items()}


def _vectors(path: Path, feeds: dict[str, npt.NDArray[np.generic]]) -> npt.NDArray[np.float32]:
    """Of unit length, whatever the graph gives."""
    session = verify.session_of(path)
    names = [each.name for each in session.get_outputs()]
    vectors: npt.NDArray[np.float32] = session.run([output_of(names)], feeds)[0]
    return np.asarray(vectors / np.linalg.norm(vectors, axis=-1, keepdims=True), np.float32)
