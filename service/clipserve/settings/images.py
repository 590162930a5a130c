"""The settings of images, each of which may differ from model to model: what is decoded, and how."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, BeforeValidator, Field, field_validator
from pydantic_settings import NoDecode

from clipserve.clip.formats import FORMATS
from clipserve.clip.images import ImageLimits
from clipserve.settings.values import split


class ImageSettings(BaseModel):
    """A part of `ModelSettings`. Defaults are those of `ImageLimits`."""

    image_formats: Annotated[tuple[str, ...], NoDecode, BeforeValidator(split)] = Field(
        ImageLimits.image_formats, min_length=1, description=f"decoded formats, of {', '.join(FORMATS)}"
    )
    max_pixels: int = Field(ImageLimits.max_pixels, ge=1, description="pixels of an image")
    max_side: int = Field(ImageLimits.max_side, ge=1, description="pixels on an image's longer side")
    max_aspect: float = Field(ImageLimits.max_aspect, ge=1, description="longer side / shorter side")
    max_scans: int = Field(ImageLimits.max_scans, ge=1, description="scans of a JPEG")
    max_scan_pixels: int = Field(
        ImageLimits.max_scan_pixels,
        ge=1,
        description="pixels x scans of a JPEG of several scans; a usual progressive one has 10",
    )
    max_pixels_per_byte: int = Field(
        ImageLimits.max_pixels_per_byte,
        ge=1,
        description="pixels of an image / bytes of its file, where decoding it takes more than 100 MB",
    )
    max_image_segments: int = Field(
        ImageLimits.max_image_segments,
        ge=1,
        description="segments or chunks of an image file, besides its pixels",
    )
    max_image_metadata_bytes: int = Field(
        ImageLimits.max_image_metadata_bytes, ge=1, description="an image file's bytes besides its pixels"
    )
    exif_transpose: bool = Field(
        ImageLimits.exif_transpose, description="turn photos upright first; the reference does not"
    )
    scaled_decode: bool = Field(
        ImageLimits.scaled_decode,
        description="decode JPEGs above 2 megapixels at a reduced scale: 3 times as fast, nearly the same pixels",
    )

    @field_validator("image_formats")
    @classmethod
    def _known(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        names = tuple(name.upper() for name in value)
        if unknown := set(names) - set(FORMATS):
            raise ValueError(f"{', '.join(sorted(unknown))} is not one of {', '.join(FORMATS)}")
        return names
