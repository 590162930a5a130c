"""Tiny models to make variants of, and few photographs to judge them on."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from clipserve.clip.artifact import read_manifest
from clipserve_models.variants.making import Plan, make_variant, plan_of
from tests.models.variants.conftest import photos, write_photos  # noqa: F401

Planner = Callable[..., Plan]


@pytest.fixture(scope="session")
def few_photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """33, enough to judge."""
    return write_photos(tmp_path_factory.mktemp("few"), 11)


@pytest.fixture(scope="session")
def tiny_fp16(tiny: Path, few_photos: Path) -> Path:
    asked = plan_of(tiny, few_photos, "fp16", out=tiny.parent / "fp16")
    made = make_variant(asked, say=lambda _: None)
    assert made == read_manifest(tiny.parent / "fp16")
    return tiny.parent / "fp16"


@pytest.fixture
def plan(few_photos: Path) -> Planner:
    """A plan of an artifact's fp16 variant in another folder, on few photos."""

    def planned(folder: Path, out: Path, **options: Any) -> Plan:
        return plan_of(folder, few_photos, "fp16", out=out, **options)

    return planned
