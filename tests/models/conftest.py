"""Artifacts that more than one module of tests looks at, exported once: each takes half a minute."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.models.test_export import make


@pytest.fixture(scope="session")
def vit(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("vit") / "artifact"
    make("ViT-B-32", "openai", out)
    return out


@pytest.fixture(scope="session")
def rn50(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Its folder has a file beside it, `said`, of what the export said."""
    folder = tmp_path_factory.mktemp("rn50")
    lines: list[str] = []
    make("RN50", "openai", folder / "artifact", say=lines.append)  # raises if a case is not within bounds
    (folder / "said").write_text("\n".join(lines))
    return folder / "artifact"
