"""The settings of encoders in this process, each of which may differ from model to model.

A GPU wants many rows in a call, and another call ready behind it; a CPU gains nothing by more than a few, and
others wait longer. So the sizes have a default for each, and which one holds is known only where the service has
seen whether CUDA works (`clipserve.engine.cuda.Accelerator`).
"""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from typing import Literal, Self

from pydantic import BaseModel, Field, PrivateAttr

from clipserve.engine.nvidia import Device


@dataclass(frozen=True)
class Calls:
    """How large the encoder calls are, and how many run at a time.

    `max_batch_tokens`, padding included: more gain a little for texts, and images beside them wait longer. It grows
    in proportion to `max_batch_texts`.
    """

    workers: int
    max_batch_images: int
    max_batch_texts: int
    max_batch_tokens: int
    threads: int


_FIELDS = frozenset(each.name for each in fields(Calls))
ON_CPU = Calls(1, max_batch_images=4, max_batch_texts=32, max_batch_tokens=96, threads=0)
# The CPU threads of a call on a GPU have nothing to compute; the second call is copied while the first computes.
ON_GPU = Calls(2, max_batch_images=64, max_batch_texts=256, max_batch_tokens=4_096, threads=1)


class EngineSettings(BaseModel):
    """A part of `ModelSettings`. Where a field of `Calls` is None (`threads`: 0), the device decides."""

    backend: Literal["auto", "onnx", "openvino", "triton"] = Field(
        "auto",
        description="where the encoders run: `onnx` (onnxruntime) or `openvino` in this process, `auto` the faster "
        "of these where both are installed and agree; `triton` on a Triton server",
    )
    device: Device = Field(
        "auto",
        description="`cuda` refuses to start where CUDA does not run; `auto` takes CUDA where it runs, and warns "
        "of a GPU that it cannot use",
    )
    threads: int = Field(
        0,
        ge=0,
        le=1024,
        description="threads of one encoder call; 0: the cores of the quota, on a GPU one",
    )
    workers: int | None = Field(None, ge=1, le=64, description="encoder calls at a time")
    max_batch_images: int | None = Field(
        None, ge=1, le=1024, description="images in one encoder call; more gain little on a CPU"
    )
    max_batch_texts: int | None = Field(
        None, ge=1, le=4096, description="texts in one encoder call; more raise its limit of tokens too"
    )
    max_queue_delay_seconds: float = Field(
        0.0, ge=0, le=1, description="how long a row may wait for company while the encoder is idle"
    )

    _may_spin: bool = PrivateAttr(default=True)

    @property
    def may_spin(self) -> bool:
        """Whether threads may wait for their work in a busy loop: not in a program that has other work."""
        return self._may_spin

    def without_spinning(self) -> Self:
        """A copy whose threads sleep while they have nothing to do."""
        copy = self.model_copy()
        copy._may_spin = False
        return copy

    def calls(self, *, on_gpu: bool) -> Calls:
        """What is set, and the device's own for the rest."""
        given = {name: getattr(self, name, None) for name in _FIELDS}
        usual = ON_GPU if on_gpu else ON_CPU
        chosen = replace(usual, **{name: value for name, value in given.items() if value})
        tokens = usual.max_batch_tokens * chosen.max_batch_texts // usual.max_batch_texts
        return replace(chosen, max_batch_tokens=max(usual.max_batch_tokens, tokens))


def default_by_device(name: str) -> str | None:
    """The default of a setting that depends on the device, in words; None for any other."""
    if name not in _FIELDS or EngineSettings.model_fields[name].default is not None:
        return None
    return f"{getattr(ON_CPU, name)}, on a GPU {getattr(ON_GPU, name)}"
