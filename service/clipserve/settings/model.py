"""The settings that may differ between models: encoders, Triton, images.

A GPU needs many rows in a call, and a next call ready; a CPU gains little from more than a few rows, and others
wait longer. So sizes have a default for each, and the service chooses after it has tried CUDA
(`clipserve.engine.cuda.Accelerator`).
"""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any, Self, TypeVar

from pydantic import BaseModel, ConfigDict, Field, FilePath, PrivateAttr, SecretStr, field_validator

from clipserve.clip.formats import FORMATS, OPTIONAL
from clipserve.clip.images import ImageLimits
from clipserve.engine.backends import BACKENDS, BackendKind, BackendName
from clipserve.engine.cuda import Device
from clipserve.engine.triton.address import parse_address
from clipserve.settings.values import Names

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

    Options = TypeVar("Options", bound=DataclassInstance)

_PROGRESSIVE_SCANS = 10  # of usual JPEG encoders


@dataclass(frozen=True)
class Calls:
    """The size of encoder calls, and the number at a time.

    `max_batch_tokens`, padding included: more gain a little for texts, and images wait longer. It grows
    in proportion to `max_batch_texts`.
    """

    workers: int
    max_batch_images: int
    max_batch_texts: int
    max_batch_tokens: int
    threads: int


_FIELDS = frozenset(each.name for each in fields(Calls))
ON_CPU = Calls(1, max_batch_images=16, max_batch_texts=32, max_batch_tokens=96, threads=0)
# The CPU threads of a call on a GPU compute nothing; the second call's data is copied while the first computes.
ON_GPU = Calls(2, max_batch_images=64, max_batch_texts=256, max_batch_tokens=4_096, threads=1)


class ModelSettings(BaseModel):
    """`model_settings` may contain each of these.

    A field of `Calls` that is None (`threads`: 0) has the device's default. The defaults of images are those of
    `ImageLimits`, which also has their other limits.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    backend: BackendName = Field(
        "auto",
        description="where the encoders run: "
        + "; ".join(f"`{name}`: {kind.meaning}" for name, kind in BACKENDS.items()),
    )
    device: Device = Field(
        "auto",
        description="`cuda` refuses to start if CUDA does not work; `auto` uses CUDA if it works, and warns "
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
        None,
        ge=1,
        le=1024,
        description="images in one encoder call; unset and in this process, as many as take 0.25 s",
    )
    max_batch_texts: int | None = Field(
        None, ge=1, le=4096, description="texts in one encoder call; more raise its limit of tokens too"
    )
    max_queue_delay_seconds: float | None = Field(
        None,
        ge=0,
        le=1,
        description="seconds to hold a row so that others can join its batch; by default 0, with Triton 0.002 "
        "while calls of other requests run",
    )
    unload_after_seconds: float = Field(
        0.0,
        ge=0,
        description="free the memory of encoders in this process after so long without a request; the next one "
        "waits until they are loaded again; 0: never",
    )
    triton_url: Names = Field(
        ("localhost:8001",),
        min_length=1,
        description="host:port of Triton's gRPC endpoints, comma-separated; a name stands for all its addresses, "
        "and is resolved again every few seconds",
    )
    triton_tls: bool = Field(False, description="encrypt the connection to Triton")
    triton_ca_file: FilePath | None = Field(
        None, description="certificates to trust; without it the system's"
    )
    triton_token: SecretStr | None = Field(
        None,
        description="sent to Triton: as a bearer token, and as its restricted-protocol key `token`",
    )
    image_formats: Names = Field(
        ImageLimits.image_formats,
        min_length=1,
        description=f"decoded formats, of {', '.join((*FORMATS, *OPTIONAL))}",
    )
    max_pixels: int = Field(
        ImageLimits.max_pixels,
        ge=1,
        description="pixels of an image; those of a request may have twice as many, and at least 100 million",
    )
    exif_transpose: bool = Field(
        ImageLimits.exif_transpose, description="turn photos upright first; the reference does not"
    )
    scaled_decode: bool = Field(
        ImageLimits.scaled_decode,
        description="decode JPEGs above 2 megapixels at reduced scale: over twice as fast, nearly the same pixels",
    )
    max_queue_seconds: float = Field(
        1.0, ge=0, le=3600, description="refuse a request if more work than this is queued before it"
    )
    image_cache_bytes: int = Field(0, ge=0, description="cached vectors of images, of a model; 0: no cache")

    _may_spin: bool = PrivateAttr(default=True)

    def options(self, kind: type[Options], usual: Options | None = None, **others: Any) -> Options:
        """Options of a room: `others`, and the settings that have the names of its fields.

        A field that is neither has the value of `usual`, or else its default.
        """
        names = {each.name for each in fields(kind)} & type(self).model_fields.keys()
        chosen = {name: getattr(self, name) for name in names} | others
        return replace(usual, **chosen) if usual else kind(**chosen)

    @property
    def backend_kind(self) -> BackendKind:
        """What is known of the backend before it is opened."""
        return BACKENDS[self.backend]

    @property
    def may_spin(self) -> bool:
        """Whether threads may wait for work in a busy loop: not in a program with other work."""
        return self._may_spin

    def without_spinning(self) -> Self:
        """A copy whose threads sleep while they wait for work."""
        copy = self.model_copy()
        copy._may_spin = False
        return copy

    def calls(self, *, on_gpu: bool) -> Calls:
        """The values that are set, and the device's defaults for the others."""
        given = {name: getattr(self, name, None) for name in _FIELDS}
        usual = ON_GPU if on_gpu else ON_CPU
        chosen = replace(usual, **{name: value for name, value in given.items() if value})
        tokens = usual.max_batch_tokens * chosen.max_batch_texts // usual.max_batch_texts
        return replace(chosen, max_batch_tokens=max(usual.max_batch_tokens, tokens))

    def image_limits(self, others: ImageLimits | None = None) -> ImageLimits:
        """These, and `others` for limits that are not settings. A photo of any size may be progressive."""
        others = others or ImageLimits()
        scans = max(others.max_scan_pixels, _PROGRESSIVE_SCANS * self.max_pixels)
        return self.options(ImageLimits, others, max_scan_pixels=scans)

    @field_validator("triton_url")
    @classmethod
    def _addresses(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        if len({parse_address(each) for each in value}) != len(value):
            raise ValueError("it has an endpoint twice")
        return value

    @field_validator("triton_token", mode="before")
    @classmethod
    def _in_a_header(cls, value: object) -> object:
        if not isinstance(value, str):
            return value
        token = value.strip()  # a file that it was read from ends with a newline
        if not (token and token.isascii() and token.isprintable()):
            raise ValueError("a token has printable ASCII characters only")
        return token

    @field_validator("image_formats")
    @classmethod
    def _known(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        names = tuple(name.upper() for name in value)
        known = (*FORMATS, *OPTIONAL)
        if unknown := set(names) - set(known):
            raise ValueError(f"{', '.join(sorted(unknown))} is not one of {', '.join(known)}")
        if "HEIC" in names and not find_spec("pillow_heif"):
            raise ValueError("HEIC needs a decoder that is not installed: pip install 'clipserve-core[heif]'")
        return names


def default_by_device(name: str) -> str | None:
    """The default of a setting in words, if it depends on the device, else None."""
    if name not in _FIELDS or ModelSettings.model_fields[name].default is not None:
        return None
    return f"{getattr(ON_CPU, name)}, on a GPU {getattr(ON_GPU, name)}"
