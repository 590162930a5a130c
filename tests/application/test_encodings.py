"""Vectors in fewer bytes: which values, in which order, and what is lost."""

from __future__ import annotations

from typing import get_args

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from clipserve.api.requests import EmbeddingType
from clipserve.application import encodings
from clipserve.application.encodings import ENCODERS

FINITE = st.floats(-1, 1, width=32, allow_subnormal=False)
VECTORS = arrays(np.float32, st.integers(1, 40), elements=FINITE)


@pytest.mark.parametrize(
    ("embedding_type", "dtype", "size"),
    [
        ("float32", "<f4", 12),
        ("float16", "<f2", 12),
        ("int8", "i1", 12),
        ("binary", "i1", 2),
        ("ubinary", "u1", 2),
    ],
)
def test_each_type_has_its_numbers_little_endian(
    embedding_type: EmbeddingType, dtype: str, size: int
) -> None:
    encoded = ENCODERS[embedding_type](np.linspace(-1, 1, 12, dtype=np.float32))
    assert encoded.values.dtype == np.dtype(dtype)
    assert encoded.values.shape == (size,)
    assert (encoded.scale is not None) == (embedding_type == "int8")


def test_each_type_has_an_encoder_and_a_row_in_the_table() -> None:
    assert {*ENCODERS} == {*get_args(EmbeddingType)}
    for embedding_type in get_args(EmbeddingType):
        assert f"| {embedding_type} |" in (encodings.__doc__ or "")


@given(VECTORS)
def test_float32_is_the_vector_and_float16_is_near_it(
    vector: np.ndarray[tuple[int], np.dtype[np.float32]],
) -> None:
    assert ENCODERS["float32"](vector).values.tobytes() == vector.astype("<f4").tobytes()
    assert np.allclose(ENCODERS["float16"](vector).values, vector, rtol=2**-11, atol=2**-24)


@given(VECTORS)
def test_int8_is_off_by_half_a_step_at_most(vector: np.ndarray[tuple[int], np.dtype[np.float32]]) -> None:
    encoded = ENCODERS["int8"](vector)
    assert encoded.scale is not None
    assert np.abs(encoded.values.astype(np.float64) * encoded.scale - vector).max() <= 0.501 * encoded.scale
    assert np.abs(encoded.values.astype(int)).max() <= 127


def test_bits_are_signs_with_the_first_value_in_the_highest_bit() -> None:
    vector = np.array([0.5, -0.5, 0.0, 0.1, -0.1, -0.1, -0.1, 0.2, 0.3], np.float32)
    assert ENCODERS["ubinary"](vector).values.tolist() == [0b10010001, 0b10000000]
    assert ENCODERS["binary"](vector).values.tolist() == [0b10010001 - 128, 0b10000000 - 128]


def test_a_vector_of_zeros_is_zeros() -> None:
    for embedding_type in get_args(EmbeddingType):
        values = ENCODERS[embedding_type](np.zeros(8, np.float32)).values
        assert values.tolist() == ([-128] if embedding_type == "binary" else [0] * len(values))
