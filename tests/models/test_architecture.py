"""An architecture names its tensors; weights that are not exactly these are refused by name."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from clipserve_models.architecture import Architecture
from clipserve_models.errors import ModelsError
from clipserve_models.roles import check_tensors, roles
from clipserve_models.tensors import Tensor, constant
from tests.models.towers import CLIP, SIGLIP


def tensors(architecture: Architecture) -> dict[str, Tensor]:
    return {role: constant(np.zeros(shape)) for role, shape in roles(architecture).items()}


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (
            lambda t: t.pop("text.tokens"),
            "'text.tokens' is among the tensors of the architecture and not of the weights",
        ),
        (
            lambda t: t.update({"image.lora": constant([1.0])}),
            "'image.lora' is among the tensors of the weights and not of the architecture",
        ),
        (
            lambda t: t.update({"image.class": constant(np.zeros(63))}),
            r"'image.class' has the shape \[63\]; the configuration says \[64\]",
        ),
        (
            lambda t: t.update({"image.class": replace(t["image.class"], floating=False)}),
            "'image.class' is of integers",
        ),
    ],
)
def test_other_tensors_are_refused_by_name(change: Callable[[dict[str, Tensor]], None], said: str) -> None:
    given = tensors(CLIP)
    change(given)
    with pytest.raises(ModelsError, match=said):
        check_tensors(roles(CLIP), given)


def test_heads_that_do_not_divide_the_width_are_refused() -> None:
    with pytest.raises(ModelsError, match="7 heads and a width of 64 are no transformer"):
        replace(CLIP.image, heads=7)


def test_encoders_that_do_not_meet_in_one_space_are_refused() -> None:
    with pytest.raises(ModelsError, match="width 64 without a projection gives no embedding of 48 numbers"):
        replace(SIGLIP, embed_dim=48)
