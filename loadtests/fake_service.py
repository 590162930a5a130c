"""`python -m loadtests.fake_service`: runs the gateway with fake encoders.

The service has no setting for this, so that nobody serves fake vectors by mistake. Hence this launcher, which
imports the service. All else is as in `python -m clipserve`: the artifacts are those of the settings, but their
reference vectors come from the fake encoders, so that the self-test passes.
"""

from __future__ import annotations

import asyncio
import hashlib
import os
import tempfile
from pathlib import Path

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # as the command does, before NumPy is imported

from clipserve.application.served_model import reference_feeds
from clipserve.clip.artifact import IMAGE_GRAPH, MANIFEST_NAME, TEXT_GRAPH, TOKENIZER, read_manifest
from clipserve.clip.manifest import ModelManifest, ReferenceVectors
from clipserve.clip.tokenizer import load_tokenizer
from clipserve.engine.backend import Backend
from clipserve.settings import ModelSettings, Settings
from clipserve.telemetry import log
from clipserve.telemetry.metrics import Metrics
from clipserve.wiring.backends import batched
from clipserve.wiring.serve import serve
from clipserve.wiring.use_cases import OpenBackend
from loadtests.fake_backend import FakeBackend


def open_fake(_: Path, manifest: ModelManifest, settings: ModelSettings, metrics: Metrics) -> Backend:
    """Fake encoders behind the batcher of a backend in process."""
    return batched(FakeBackend(manifest.embed_dim), settings, metrics)


def write_fake_artifact(source: Path, folder: Path) -> Path:
    """Write a copy of the artifact for fake encoders: its tokenizer, empty graphs, other reference vectors."""
    manifest = asyncio.run(_fake_manifest(source))
    folder.mkdir()
    (folder / TOKENIZER).write_bytes((source / TOKENIZER).read_bytes())
    for graph in (IMAGE_GRAPH, TEXT_GRAPH):
        (folder / graph).write_bytes(b"")
    (folder / MANIFEST_NAME).write_text(manifest.model_dump_json(), "utf-8")
    return folder


async def _fake_manifest(source: Path) -> ModelManifest:
    manifest = read_manifest(source)
    feeds = reference_feeds(manifest, load_tokenizer(source, manifest.text))
    backend = FakeBackend(manifest.embed_dim)
    await backend.start()
    reference = ReferenceVectors(
        image_embeddings=(await backend.encode_image(**feeds[IMAGE_GRAPH])).tolist(),
        text_embeddings=(await backend.encode_text(**feeds[TEXT_GRAPH])).tolist(),
    )
    empty = hashlib.sha256(b"").hexdigest()
    files = {TOKENIZER: manifest.files[TOKENIZER], IMAGE_GRAPH: empty, TEXT_GRAPH: empty}
    return manifest.model_copy(update={"reference": reference, "files": files})


def main(open_backend: OpenBackend = open_fake) -> None:
    """Serve the models of the settings on these backends until a signal."""
    log.start()
    settings = Settings()
    log.configure(settings.log_level)
    with tempfile.TemporaryDirectory() as temporary:
        folders = [
            write_fake_artifact(source, Path(temporary, str(i))) for i, source in enumerate(settings.models)
        ]
        serve(settings.model_copy(update={"models": tuple(folders)}), open_backend)


if __name__ == "__main__":
    main()
