"""The settings of images, each of which may differ from model to model: what is decoded, and how."""

from __future__ import annotations

from dataclasses import replace
from typing import Annotated

from pydantic import BaseModel, BeforeValidator, Field, field_validator
from pydantic_settings import NoDecode

from clipserve.clip.formats import FORMATS
from clipserve.clip.images import ImageLimits
from clipserve.settings.values import split

_PROGRESSIVE_SCANS = 10  # that encoders write


class ImageSettings(BaseModel):
    """A part of `ModelSettings`. Defaults are those of `ImageLimits`, which has the other limits too."""

    image_formats: Annotated[tuple[str, ...], NoDecode, BeforeValidator(split)] = Field(
        ImageLimits.image_formats, min_length=1, description=f"decoded formats, of {', '.join(FORMATS)}"
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
        description="decode JPEGs above 2 megapixels at a reduced scale: 3 times as fast, nearly the same pixels",
    )

    def image_limits(self, others: ImageLimits | None = None) -> ImageLimits:
        """These, and `others` for what is no setting. A photo of any size may be progressive."""
        others = others or ImageLimits()
        scans = max(others.max_scan_pixels, _PROGRESSIVE_SCANS * self.max_pixels)
        own = self.model_dump(include=set(ImageSettings.model_fields))
        return replace(others, max_scan_pixels=scans, **own)

    @field_validator("image_formats")
    @classmethod
    def _known(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        names = tuple(name.upper() for name in value)
        if unknown := set(names) - set(FORMATS):
            raise ValueError(f"{', '.join(sorted(unknown))} is not one of {', '.join(FORMATS)}")
        return names
