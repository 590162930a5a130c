"""The manifest of an artifact: the contents of `model.json`.

Every fact about a model that the service needs is here or in the graphs; the code knows no model by name.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import ClassVar, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

# Texts are padded to the next of these. The cost of a text is proportional to its padded length. Most labels have
# 8 to 12 tokens with their template, so the steps are small there. Long texts are rare, and large steps let them
# share batches.
TEXT_BUCKETS = (8, 10, 12, 16, 24, 32, 48)
# On a GPU a call of a hundred texts takes little longer than one of ten, so shared calls save more than fewer
# tokens: few lengths, with most labels in the first.
GPU_TEXT_BUCKETS = (16, 32)

_MAX_ID = 2**31 - 1  # ids are int32

Precision = Literal["fp32", "bf16", "fp16", "int8"]
Cleaning = Literal["lower", "whitespace", "canonicalize", "lowercase", "none"]


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class _Preprocessing(_Frozen):
    """What a fingerprint is made of. `in_each`: the fields that are in every fingerprint, as in the first ones.

    A field that comes later is in it only where it is not the default: the fingerprints of stored vectors last.
    """

    in_each: ClassVar[frozenset[str]]

    def facts(self) -> str:
        """The fields as JSON."""
        fields = type(self).model_fields.items()
        later = {name: each.default for name, each in fields if name not in self.in_each}
        return self.model_dump_json(exclude={name for name in later if getattr(self, name) == later[name]})


class ImageSpec(_Preprocessing):
    """The checkpoint's preprocessing of images, up to uint8.

    `shortest`: resize the shorter side to `size`, then crop the centre. `squash`: resize both sides to `size`.
    """

    in_each: ClassVar = frozenset({"size", "resize", "interpolation"})

    size: int = Field(ge=1, le=4_096, description="side of the square input, pixels")
    resize: Literal["shortest", "squash"] = "shortest"
    interpolation: Literal["bicubic", "bilinear"] = "bicubic"


class TextSpec(_Preprocessing):
    """The checkpoint's preprocessing of texts.

    `cleaning`: the reference's step before its BPE: `lower` (OpenAI CLIP), `whitespace`, `canonicalize` (SigLIP: no
    punctuation, lower case), `lowercase` (SigLIP2 of transformers: nothing else), or `none`. `padding`: `trim`
    allows rows shorter than the context length (a causal encoder ignores tokens after the end-of-text token);
    `fixed` does not.
    """

    in_each: ClassVar = frozenset({"context_length", "padding", "pad_id", "eot_id", "cleaning"})

    context_length: int = Field(ge=2, le=131_072, description="tokens, special ones included")
    padding: Literal["trim", "fixed"] = "trim"
    pad_id: int = Field(0, ge=0, le=_MAX_ID)
    eot_id: int | None = Field(
        default=None, ge=0, le=_MAX_ID, description="the token that ends a text; kept when truncating"
    )
    cleaning: Cleaning = "lower"

    @property
    def lengths(self) -> list[int]:
        """The lengths that texts are padded to on a CPU."""
        return self.lengths_of(TEXT_BUCKETS)

    def lengths_of(self, buckets: Sequence[int]) -> list[int]:
        """The lengths among `buckets` that texts may be padded to, ascending; the last is the context length."""
        if self.padding == "fixed":
            return [self.context_length]
        return [*sorted(each for each in buckets if each < self.context_length), self.context_length]

    def padded_length(self, tokens: int, buckets: Sequence[int] = TEXT_BUCKETS) -> int:
        """The length that a text of `tokens` tokens is padded to: the smallest that holds it.

        Raises:
            ValueError: the text is longer than the context length.
        """
        for length in self.lengths_of(buckets):
            if tokens <= length:
                return length
        raise ValueError(f"{tokens} tokens do not fit the context length, {self.context_length}")


class ScoringSpec(_Frozen):
    """`logit = logit_scale * cosine + logit_bias`. `logit_scale` is the factor itself, not its logarithm."""

    function: Literal["softmax", "sigmoid"] = "softmax"
    # OpenAI's scale is 100, SigLIP's 117 with a bias of -17. Far larger values would overflow the scores.
    logit_scale: float = Field(gt=0, le=1e6)
    logit_bias: float = Field(0.0, ge=-1e6, le=1e6)


class Source(_Frozen):
    """The origin of the weights.

    `model`, `pretrained` and `seed` are for `models variant`, which loads the model again; None if open_clip does
    not have the model.
    """

    checkpoint: str
    revision: str | None = None
    licence: str
    random_weights: bool = Field(default=False, description="never trained: for timing and tests only")
    model: str | None = Field(default=None, description="its name in open_clip")
    pretrained: str | None = Field(default=None, description="the tag of its weights there")
    seed: int | None = Field(default=None, description="of random weights")
    files: dict[str, str] | None = Field(
        default=None, description="SHA-256 of each file that was read, by name"
    )


class ReferenceVectors(_Frozen):
    """The exporting framework's vectors for the inputs of `clipserve.clip.reference`, checked before serving.

    The last two are for `clipserve.clip.reference_inputs`; None: not compared.
    """

    image_embeddings: list[list[float]]  # [n, D]
    text_embeddings: list[list[float]]  # [n, D]
    pixels: list[int] | None = Field(
        default=None, min_length=192, max_length=192, description="64 that the photo becomes: R, G, B"
    )
    token_ids: str | None = Field(default=None, description="SHA-256 of the ids that the texts become")


class Variant(_Frozen):
    """How a variant of an fp32 artifact was made, and its difference from that on photos used only for the gate.

    The figures about labels are None if the weights were never trained; `top1` and its drop also if the photos
    had no labels.
    """

    made_of: str = Field(description="the fingerprint of the fp32 artifact")
    method: Literal["dynamic", "static"] | None = Field(
        default=None, description="int8's activation ranges: of each call, or calibrated"
    )
    towers: list[Literal["image", "text"]] = Field(
        min_length=1, description="those in the variant's precision; the other is fp32's"
    )
    calibration_photos: int = Field(ge=0)
    largest_value: float | None = Field(
        default=None,
        description="fp16: the largest absolute value of a tensor of the fp32 graphs on photos and prompts",
    )
    largest_tensor: str | None = Field(default=None, description="which tensor that is, after its graph")
    photos: int = Field(ge=1, description="photos that the figures are of")
    labels: int = Field(ge=1, description="labels of the zero-shot classifier")
    mean_cosine: float = Field(description="of the photos' vectors to those of fp32")
    p1_cosine: float = Field(description="the first percentile of the same")
    text_mean_cosine: float = Field(description="of the vectors of the labels' prompts to those of fp32")
    text_p1_cosine: float
    batch_cosine: float | None = Field(
        default=None, description="lowest cosine of an input alone to the same input in a batch"
    )
    top1_agreement: float | None = Field(default=None, description="photos whose first label is fp32's; 0..1")
    top1: float | None = Field(default=None, description="photos whose first label is right; 0..1")
    top1_drop: float | None = Field(default=None, description="fp32's top1 less this one's")


class ModelManifest(_Frozen):
    """`model.json`. `files` maps each other file of the artifact to its SHA-256, in hexadecimal."""

    format: Literal[1] = 1
    name: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._@-]{0,99}$")
    embed_dim: int = Field(ge=1, le=65_536)
    precision: Precision = "fp32"
    image: ImageSpec
    text: TextSpec
    scoring: ScoringSpec
    prompt_templates: list[str] = Field(default=["a photo of a {}."], min_length=1)
    files: dict[str, str]
    source: Source
    reference: ReferenceVectors
    variant: Variant | None = None

    @model_validator(mode="after")
    def _vectors_of_embed_dim(self) -> Self:
        for vector in (*self.reference.image_embeddings, *self.reference.text_embeddings):
            if len(vector) != self.embed_dim:
                raise ValueError(
                    f"a reference vector has {len(vector)} numbers; embed_dim is {self.embed_dim}"
                )
        return self

    def fingerprint(self, *choices: str, precision: str | None = None) -> str:
        """Name, precision and a digest of graphs, tokenizer, preprocessing, `choices` and `precision`.

        Versions of libraries are not in it: they change last digits (`clipserve.telemetry.versions` tells them).
        `choices`: options of the service that change vectors, besides the artifact. `precision`: the engine's, if
        it is lower than the artifact's, because that changes vectors.
        """
        files = [f"{name}={digest}" for name, digest in sorted(self.files.items())]
        facts = [*files, self.image.facts(), self.text.facts(), *choices]
        if precision:
            facts.append(f"precision={precision}")
        digest = hashlib.sha256("\n".join(facts).encode()).hexdigest()[:12]
        # A variant has its precision in its name ("ViT-B-32@int8"), so that it can be served beside its model.
        return f"{self.name.removesuffix(f'@{self.precision}')}@{precision or self.precision}-{digest}"
