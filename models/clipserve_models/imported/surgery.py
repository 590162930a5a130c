"""Turns ONNX graphs of other exporters into those of `clipserve.clip.artifact`: new inputs, an L2 norm behind."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, compose, helper, numpy_helper

from clipserve_models.errors import ModelsError, first_line
from clipserve_models.graphs.file import INLINE_BYTES, Graph
from clipserve_models.model_files import Triple

FLOAT, UINT8 = TensorProto.FLOAT, TensorProto.UINT8
INT32, INT64 = TensorProto.INT32, TensorProto.INT64
_OURS = "of_the_export/"  # in front of every name of the graph, so that ours are free
_OUTPUTS = ("image_embeds", "text_embeds", "pooler_output")  # where there are several


@dataclass
class Surgery:
    """A graph that is being changed. `inputs`: its inputs by name, as they were."""

    path: Path
    model: Any
    inputs: dict[str, Any]

    @classmethod
    def of(cls, path: Path) -> Surgery:
        """Raises ModelsError: the file is missing, no graph, or older than opset 13."""
        try:
            model = onnx.load(path)
        except Exception as error:  # protobuf, onnx and the file system each have exceptions of their own
            raise ModelsError(f"{path} is no ONNX graph: {first_line(error)}.") from None
        opset = max(
            (each.version for each in model.opset_import if each.domain in ("", "ai.onnx")), default=0
        )
        if opset < 13:
            raise ModelsError(f"{path} is of opset {opset}; 13 or later is needed: export it again.")
        compose.add_prefix(model, _OURS, inplace=True)
        weights = {weight.name for weight in model.graph.initializer}
        inputs = [each for each in model.graph.input if each.name not in weights]
        return cls(path, model, {each.name.removeprefix(_OURS): each for each in inputs})

    @property
    def takes_pixels(self) -> bool:
        """Whether its one input is of uint8."""
        return all(_dtype(told) == UINT8 for told in self.inputs.values())

    def dtype_of(self, name: str) -> Any:
        """numpy's, of an input."""
        return helper.tensor_dtype_to_np_dtype(_dtype(self.inputs[name]))

    def images(self, size: int, mean: Triple, std: Triple) -> None:
        """Take `pixels` uint8 [N, S, S, 3], for uint8 of this shape or normalised floats [N, 3, S, S]."""
        (name,) = self._only_inputs(1)
        shape = (None, size, size, 3) if self.takes_pixels else (None, 3, size, size)
        self._check(name, (FLOAT, UINT8), shape)
        if self.takes_pixels:
            self._rename(name, "pixels")
        else:
            scale, shift = 1 / (255 * np.array(std)), np.array(mean) / np.array(std)
            front = Graph({}, half=False, scope="image/")
            # The cast comes first: TensorRT takes uint8 as a graph's input only.
            image = front.node("Cast", "pixels", to=FLOAT)
            image = front.node("Mul", image, self._constant("image/scale", scale))
            image = front.node("Sub", image, self._constant("image/shift", shift))
            front.node("Transpose", image, name=_OURS + name, perm=[0, 3, 1, 2])
            self._first(*front.nodes)
        self._inputs(pixels=(UINT8, ["batch", size, size, 3]))

    def texts(self, length: int) -> None:
        """Take `token_ids` int32 [N, L] and `lengths`, which nothing reads; an attention mask is of ones."""
        mask = "attention_mask" if "attention_mask" in self.inputs else None
        (name,) = (each for each in self._only_inputs(1 + (mask is not None)) if each != mask)
        self._check(name, (INT32, INT64), (None, length))
        front = Graph({}, half=False, scope="text/")
        if _dtype(self.inputs[name]) == INT32:
            self._rename(name, "token_ids")
        else:
            front.node("Cast", "token_ids", name=_OURS + name, to=INT64)
        if mask:
            self._check(mask, (INT32, INT64), (None, length))
            one = numpy_helper.from_array(np.ones(1, self.dtype_of(mask)))
            front.node("ConstantOfShape", front.node("Shape", "token_ids"), name=_OURS + mask, value=one)
        self._first(*front.nodes)
        self._inputs(token_ids=(INT32, ["batch", length]), lengths=(INT32, ["batch"]))

    def save(self, out: Path, dim: int) -> None:
        """Give `embedding` float32 [N, dim] of unit length, and write it. Raises ModelsError: no such output."""
        graph = self.model.graph
        found = {each.name.removeprefix(_OURS): each for each in graph.output}
        name = output_of(list(found))
        if name is None or _shape(found[name])[1:] not in ((dim,), (None,)):
            raise ModelsError(f"{self.path} gives {_told(found)}; one output [batch, {dim}] is needed.")
        tiny = self._constant("embedding/tiny", np.array(1e-12))
        axis = self._constant("embedding/axis", np.array([-1]), np.int64)
        behind = Graph({}, half=False, scope="embedding/")
        vector = behind.node("Cast", _OURS + name, to=FLOAT)
        # Not ReduceL2, which takes its axes as an input from opset 18 on only.
        length = behind.node("Sqrt", behind.node("ReduceSum", behind.node("Mul", vector, vector), axis))
        behind.node("Div", vector, behind.node("Max", length, tiny), name="embedding")
        graph.node.extend(behind.nodes)
        del graph.output[:]
        graph.output.append(helper.make_tensor_value_info("embedding", FLOAT, ["batch", dim]))
        aside = sum(len(weight.raw_data) for weight in graph.initializer) > INLINE_BYTES
        onnx.save(
            self.model, out, save_as_external_data=aside, location=f"{out.name}.data" if aside else None
        )

    def _only_inputs(self, count: int) -> list[str]:
        if len(self.inputs) != count:
            raise ModelsError(
                f"{self.path} takes {_told(self.inputs)}; other inputs than one are not supported."
            )
        return list(self.inputs)

    def _check(self, name: str, dtypes: tuple[int, ...], shape: tuple[int | None, ...]) -> None:
        """Raises ModelsError: an input is of another kind, or its batch is fixed."""
        told = self.inputs[name]
        found = _shape(told)
        fits = len(found) == len(shape) and all(
            a in (b, None) for a, b in zip(found[1:], shape[1:], strict=True)
        )
        if _dtype(told) not in dtypes or not fits:
            wanted = f"[batch, {', '.join(map(str, shape[1:]))}]"
            raise ModelsError(f"{self.path} takes {_told({name: told})}; {wanted} is needed.")
        if found[0] is not None:
            raise ModelsError(
                f"{self.path} takes batches of {found[0]} only, and the service's are of any size: export it "
                "again with a dynamic batch, or take a newer export."
            )

    def _rename(self, name: str, ours: str) -> None:
        for node in self.model.graph.node:
            for at, value in enumerate(node.input):
                if value == _OURS + name:
                    node.input[at] = ours

    def _constant(self, name: str, values: Any, dtype: Any = np.float32) -> str:
        self.model.graph.initializer.append(numpy_helper.from_array(np.asarray(values, dtype), name))
        return name

    def _first(self, *nodes: Any) -> None:
        for node in reversed(nodes):
            self.model.graph.node.insert(0, node)

    def _inputs(self, **ours: tuple[int, list[Any]]) -> None:
        graph = self.model.graph
        for each in self.inputs.values():
            graph.input.remove(each)
        for name, (dtype, shape) in ours.items():
            graph.input.append(helper.make_tensor_value_info(name, dtype, shape))


def output_of(names: list[str]) -> str | None:
    """The output with the vectors."""
    found = names if len(names) == 1 else [name for name in _OUTPUTS if name in names]
    return found[0] if len(found) == 1 else None


def _dtype(told: Any) -> int:
    return int(told.type.tensor_type.elem_type)


def _shape(told: Any) -> tuple[int | None, ...]:
    """None: any size."""
    dims = told.type.tensor_type.shape.dim
    return tuple(dim.dim_value if dim.HasField("dim_value") else None for dim in dims)


def _told(values: dict[str, Any]) -> str:
    kinds = {number: name.lower() for name, number in TensorProto.DataType.items()}
    return (
        ", ".join(f"{name} {kinds[_dtype(told)]} {list(_shape(told))}" for name, told in values.items())
        or "nothing"
    )
