"""Triton's names and tensors, written once: no server is needed here."""

from __future__ import annotations

import subprocess
import sys

import onnxruntime as ort
import pytest

from clipserve.clip.artifact import read_manifest
from clipserve.clip.manifest import TextSpec
from clipserve.demo import FOLDER as DEMO
from clipserve.engine.triton.contract import TOWERS, Tower, inputs, output, triton_model

MANIFEST = read_manifest(DEMO)
TYPES = {"TYPE_UINT8": "tensor(uint8)", "TYPE_INT32": "tensor(int32)", "TYPE_FP32": "tensor(float)"}


@pytest.mark.parametrize("tower", TOWERS)
def test_the_tensors_are_those_of_the_graph(tower: Tower) -> None:
    graph = ort.InferenceSession(DEMO / f"{tower}.onnx")
    tensors = [*inputs(MANIFEST, tower), output(MANIFEST)]
    for tensor, node in zip(tensors, [*graph.get_inputs(), *graph.get_outputs()], strict=True):
        dims = tensor.dims if tensor.graph_dims is None else tensor.graph_dims
        assert (tensor.name, TYPES[tensor.data_type]) == (node.name, node.type)
        assert ["N", *dims] == [-1 if size == "L" else size for size in node.shape]
        assert tensor.dims, "Triton wants a dimension besides the batch"


def test_a_text_encoder_of_one_length_takes_that_length_only() -> None:
    fixed = MANIFEST.model_copy(update={"text": TextSpec(context_length=64, padding="fixed")})
    assert inputs(fixed, "text")[0].dims == (64,)


def test_the_two_models_of_an_artifact_have_different_names() -> None:
    assert [triton_model(MANIFEST, tower) for tower in TOWERS] == ["demo_image", "demo_text"]


def test_reading_the_contract_loads_no_library_of_triton() -> None:
    code = (
        "import sys, clipserve.engine.triton.contract;"
        "sys.exit(any(name.split('.')[0] in ('tritonclient', 'grpc', 'google') for name in sys.modules))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
