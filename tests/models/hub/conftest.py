"""A hub on this machine, and exports that know no other."""

from __future__ import annotations

import importlib
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from huggingface_hub import close_session, constants

from tests.models.asking import ask
from tests.models.hub.local_hub import LocalHub

Exported = subprocess.CompletedProcess[str]
Export = Callable[..., Exported]


@contextmanager
def variables(values: dict[str, str]) -> Iterator[None]:
    """In the environment, and in huggingface_hub, which reads its own when it is imported."""
    with pytest.MonkeyPatch.context() as patch:
        for name in ("HF_TOKEN", "HF_HUB_OFFLINE"):
            patch.delenv(name, raising=False)
        for name, value in values.items():
            patch.setenv(name, value)
        importlib.reload(constants)
        try:
            yield
        finally:
            close_session()
    importlib.reload(constants)


@pytest.fixture
def hub(tmp_path: Path) -> Iterator[LocalHub]:
    """Empty; this process and those of this test find it, and have caches that are not there yet."""
    values = {"HF_HOME": str(tmp_path / "hf"), "CLIPSERVE_CACHE_DIR": str(tmp_path / "cache")}
    # Seconds: ten, as usual, may be less than a busy machine takes for an answer.
    values |= dict.fromkeys(("HF_HUB_ETAG_TIMEOUT", "HF_HUB_DOWNLOAD_TIMEOUT"), "60")
    with LocalHub().running() as hub, variables(values | {"HF_ENDPOINT": hub.url}):
        yield hub


@pytest.fixture
def export() -> Export:
    """`clipserve models export`, with other variables of huggingface_hub."""

    def run(*words: str, **others: str) -> Exported:
        with variables(others):
            return ask("export", *words)

    return run
