"""The bytes of a call, read again by protobuf: no server is needed here."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from tritonclient.grpc import service_pb2

from clipserve.engine.triton.contract import Tensor
from clipserve.engine.triton.message import Rows, TritonCall

PIXELS = Tensor("pixels", "TYPE_UINT8", (4, 4, 3))
TEXTS = (
    Tensor("token_ids", "TYPE_INT32", (-1,)),
    Tensor("lengths", "TYPE_INT32", (1,), graph_dims=()),
)


def read(tensors: Sequence[Tensor], arrays: Sequence[Rows], seconds: float = 1) -> Any:
    call = TritonCall("image", "demo", tensors, arrays)
    return service_pb2.ModelInferRequest.FromString(call.message(seconds))


@pytest.mark.parametrize("rows", [1, 2, 3, 300, 50_000])  # lengths of one to four bytes
def test_the_message_is_what_protobuf_would_write(rows: int) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (rows, 4, 4, 3), np.uint8)
    expected = service_pb2.ModelInferRequest(model_name="demo", raw_input_contents=[pixels.tobytes()])
    expected.inputs.add(name="pixels", datatype="UINT8", shape=[rows, 4, 4, 3])
    expected.outputs.add(name="embedding")
    expected.parameters["timeout"].int64_param = 1_500_000
    assert read([PIXELS], [pixels], 1.5) == expected


def test_each_tensor_has_the_shape_that_triton_wants() -> None:
    ids, lengths = np.arange(14, dtype=np.int32).reshape(2, 7), np.array([3, 7], np.int32)
    made = read(TEXTS, (ids, lengths))
    assert [list(each.shape) for each in made.inputs] == [[2, 7], [2, 1]]
    assert list(made.raw_input_contents) == [ids.tobytes(), lengths.tobytes()]


@pytest.mark.parametrize("cut", [np.s_[:, ::-1], np.s_[:, :, 1:], np.s_[::2]])
def test_rows_that_do_not_lie_together_are_sent_in_order(cut: Any) -> None:
    pixels: npt.NDArray[np.uint8] = np.random.default_rng(0).integers(0, 256, (4, 4, 4, 3), np.uint8)[cut]
    assert list(read([PIXELS], [pixels]).raw_input_contents) == [pixels.tobytes()]


def test_rows_of_several_arrays_are_the_tensor_that_they_would_be_together() -> None:
    pixels: npt.NDArray[np.uint8] = np.random.default_rng(0).integers(0, 256, (5, 4, 4, 3), np.uint8)
    assert read([PIXELS], [[*pixels]]) == read([PIXELS], [pixels])


def test_reading_the_contract_loads_no_library_of_triton() -> None:
    code = (
        "import sys, clipserve.engine.triton.contract;"
        "sys.exit(any(name.split('.')[0] in ('tritonclient', 'grpc', 'google') for name in sys.modules))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
