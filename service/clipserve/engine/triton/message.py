"""Serializes a call as Triton's ModelInferRequest, copying the tensors once.

tritonclient copies each tensor into a bytes object, protobuf copies that into the message, and writing the message
copies it once more. In protobuf's encoding fields may stand in any order, and a message is the bytes of its fields
one after the other. So protobuf writes everything but the tensors, and these are put behind it. A tensor that lies
in shared memory is only named.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from tritonclient.grpc import service_pb2

from clipserve.clip.protobuf import head
from clipserve.engine.triton.contract import EMBEDDING, Tensor, Tower

Rows = (
    npt.NDArray[Any] | Sequence[npt.NDArray[Any]]
)  # of a tensor: as one array, or as one array for each row

_FIELD = service_pb2.ModelInferRequest.DESCRIPTOR.fields_by_name["raw_input_contents"].number


@dataclass(frozen=True)
class TritonCall:
    """Rows for one encoder, not yet bound to a server.

    Attributes:
        model: its name in Triton.
        arrays: the rows of each of `inputs`.
    """

    tower: Tower
    model: str
    inputs: Sequence[Tensor]
    arrays: Sequence[Rows]

    @property
    def rows(self) -> int:
        return len(self.arrays[0])

    def message(self, seconds: float, region: str | None = None) -> bytes:
        """A serialized ModelInferRequest.

        `seconds`: how long it may wait in Triton's queue. `region`: of shared memory, which has the only tensor at
        its beginning.
        """
        request = service_pb2.ModelInferRequest(model_name=self.model)
        for tensor, array in zip(self.inputs, self.arrays, strict=True):
            dims = array[0].shape if tensor.graph_dims is None else tensor.dims
            datatype = tensor.data_type.removeprefix("TYPE_")
            message = request.inputs.add(name=tensor.name, datatype=datatype, shape=[len(array), *dims])
            if region is not None:
                message.parameters["shared_memory_region"].string_param = region
                message.parameters["shared_memory_byte_size"].int64_param = len(array) * array[0].nbytes
        request.outputs.add(name=EMBEDDING)
        request.parameters["timeout"].int64_param = max(1, int(seconds * 1e6))
        contents = _contents(self.arrays) if region is None else ()
        return b"".join((request.SerializeToString(), *contents))


def buffers(rows: Rows) -> list[memoryview]:
    """The bytes of the rows, in order, without a copy where they are contiguous."""
    arrays = [rows] if isinstance(rows, np.ndarray) else rows
    return [np.ascontiguousarray(array).data.cast("B") for array in arrays]


def _contents(arrays: Sequence[Rows]) -> Iterator[bytes | memoryview]:
    for array in arrays:
        yield head(_FIELD, len(array) * array[0].nbytes)
        yield from buffers(array)
