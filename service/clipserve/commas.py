"""Settings that are lists, as the environment has them."""

from __future__ import annotations


def split(value: object) -> object:
    """A list is written with commas: CLIPSERVE_MODELS=demo,ViT-B-32."""
    return [part.strip() for part in value.split(",")] if isinstance(value, str) else value
