"""Settings that are lists, as the environment has them."""

from __future__ import annotations


def split(value: object) -> object:
    """A list is written with commas: CLIPSERVE_MODELS=/models/ViT-B-32,/models/RN50."""
    return [part.strip() for part in value.split(",")] if isinstance(value, str) else value
