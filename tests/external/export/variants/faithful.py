"""What an fp16 variant must be."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from clipserve.clip.manifest import ModelManifest
from clipserve_models.variants.making import GRAPHS


def assert_faithful(folder: Path, made: ModelManifest, fp32: ModelManifest) -> None:
    import onnx

    assert made.fingerprint().startswith(f"{fp32.name}@fp16-")
    record = made.variant
    assert record
    assert (record.made_of, record.towers, record.photos) == (fp32.fingerprint(), [*GRAPHS], 33)
    assert min(record.mean_cosine, record.p1_cosine, record.text_mean_cosine, record.text_p1_cosine) > 0.99999
    assert record.largest_value
    assert 1 < record.largest_value < 1_000
    for graph in GRAPHS.values():
        model = onnx.load(folder / graph)
        onnx.checker.check_model(model, full_check=True)
        assert model.ir_version <= 10
        assert model.opset_import[0].version == 18
        assert_products_are_half(model.graph)


def assert_products_are_half(graph: Any) -> None:
    """Every product with weights has them in fp16, every normalization of a layer has its own in fp32."""
    import onnx

    types = {weights.name: weights.data_type for weights in graph.initializer}
    wanted = {"LayerNormalization": onnx.TensorProto.FLOAT, "BatchNormalization": onnx.TensorProto.FLOAT}
    wanted |= dict.fromkeys(("MatMul", "Conv", "Gemm"), onnx.TensorProto.FLOAT16)
    found = {node.op_type: 0 for node in graph.node}
    for node in graph.node:
        if node.op_type in wanted and node.input[1] in types:
            found[node.op_type] += 1
            assert types[node.input[1]] == wanted[node.op_type], node.name
    assert found.get("MatMul", 0) + found.get("Conv", 0) >= 4
