"""Tensors are read from safetensors files as they are needed; a file that is not whole is refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from clipserve_models.errors import ModelsError
from clipserve_models.weights import MAX_HEADER_BYTES, open_weights

VALUES = np.arange(6, dtype=np.float32).reshape(2, 3)


def write(path: Path, header: Any, data: bytes) -> Path:
    text = json.dumps(header).encode() if not isinstance(header, bytes) else header
    path.write_bytes(len(text).to_bytes(8, "little") + text + data)
    return path


def entry(dtype: str = "F32", shape: Any = (2, 3), offsets: Any = (0, 24)) -> dict[str, Any]:
    return {"dtype": dtype, "shape": shape, "data_offsets": offsets}


@pytest.mark.parametrize(
    ("dtype", "data"),
    [
        ("F32", VALUES.tobytes()),
        ("F16", VALUES.astype("<f2").tobytes()),
        ("F64", VALUES.astype("<f8").tobytes()),
        ("BF16", (VALUES.view(np.uint32) >> 16).astype("<u2").tobytes()),
    ],
)
def test_every_floating_type_is_read_as_fp32(dtype: str, data: bytes, tmp_path: Path) -> None:
    header = {"__metadata__": {"format": "pt"}, "w": entry(dtype, offsets=(0, len(data)))}
    tensor = open_weights([write(tmp_path / "w.safetensors", header, data)])["w"]
    assert tensor.shape == (2, 3)
    assert tensor.read().dtype == np.float32
    assert np.array_equal(tensor.read(), VALUES)


def test_shards_make_one_model_and_integers_are_named_as_such(tmp_path: Path) -> None:
    one = write(tmp_path / "1", {"a": entry()}, VALUES.tobytes())
    two = write(tmp_path / "2", {"ids": entry("I64", (3,))}, bytes(24))
    tensors = open_weights([one, two])
    assert {name: tensor.floating for name, tensor in tensors.items()} == {"a": True, "ids": False}
    with pytest.raises(ModelsError, match=r"2 has the tensor 'a', which another file has too"):
        open_weights([one, write(tmp_path / "2", {"a": entry()}, VALUES.tobytes())])


WHOLE = VALUES.tobytes()
BROKEN: list[tuple[Any, bytes, str]] = [
    ({"w": entry()}, WHOLE[:-1], r"has \d+ bytes and its header says \d+: it was cut short"),
    ({"w": entry()}, WHOLE + b"more", "it was cut short or altered"),
    ({"w": entry(), "v": entry()}, WHOLE, "which do not fit it or its neighbour"),
    ({"w": entry(shape=(2, 4))}, WHOLE, r"'w' is of F32 \[2, 4\] and claims the bytes 0 to 24"),
    (
        {"w": entry(shape=(2, -3))},
        WHOLE,
        "the tensor 'w' has the shape .*-3.* where only whole numbers from 0",
    ),
    ({"w": entry(shape=(2.0, 3))}, WHOLE, "where only whole numbers from 0 can be"),
    ({"w": entry("F8_E4M3")}, WHOLE, "is of 'F8_E4M3', which is not read. Save the weights as one of .*F16"),
    ({"w": entry("F8_E4M3")}, WHOLE, "F8_E4M3"),
    ({"w": {"dtype": "F32"}}, WHOLE, "data_offsets"),
    ({"w": 3}, b"", "no safetensors file"),
    ([], b"", "a header that is no object"),
    (b'{"w":', b"", "no safetensors file, or was cut short"),
    (b"[" * 100_000, b"", "no safetensors file, or was cut short"),
]


@pytest.mark.parametrize(("header", "data", "said"), BROKEN)
def test_a_file_that_is_not_whole_is_refused(header: Any, data: bytes, said: str, tmp_path: Path) -> None:
    with pytest.raises(ModelsError, match=said):
        open_weights([write(tmp_path / "w.safetensors", header, data)])


def test_a_header_of_any_length_is_not_read(tmp_path: Path) -> None:
    path = tmp_path / "w.safetensors"
    path.write_bytes((MAX_HEADER_BYTES + 1).to_bytes(8, "little"))
    with pytest.raises(ModelsError, match="a header of 10,000,001 bytes, and 10,000,000 are allowed"):
        open_weights([path])
    with pytest.raises(ModelsError, match=r"none cannot be read: No such file"):
        open_weights([tmp_path / "none"])
