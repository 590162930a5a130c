"""The answers about models, and whether the service is ready; see `clipserve.api.answers`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from pydantic import FiniteFloat

from clipserve.api.answers import Answer, List


@dataclass
class ModelInfo(Answer):
    id: str
    object: Literal["model"]
    ready: bool
    fingerprint: str
    embed_dim: int
    image_size: int
    context_length: int
    scoring: str
    logit_scale: FiniteFloat
    logit_bias: FiniteFloat
    prompt_templates: List[str]
    precision: str
    checkpoint: str
    licence: str
    random_weights: bool


@dataclass
class ModelList(Answer):
    object: Literal["list"]
    data: List[ModelInfo]


@dataclass
class Status(Answer):
    status: Literal["alive", "ready", "not ready"]
