"""A toy artifact and a running service around it, for tests that are about everything but the model."""

from __future__ import annotations

import asyncio
import hashlib
import io
import socket
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import tokenizers
from PIL import Image
from tokenizers import models, pre_tokenizers, processors

from clipserve.api.limits import RequestLimits
from clipserve.application.admission import Admission
from clipserve.application.charging import Charge
from clipserve.application.classifiers import Classifiers
from clipserve.application.decoding.decoders import Decoders, in_thread
from clipserve.application.encoder import ImageEncoder, TextEncoder
from clipserve.application.fetched import FetchedImages
from clipserve.application.inference import Inference
from clipserve.application.label_sets.service import LabelSets
from clipserve.application.label_sets.store import Store
from clipserve.application.models import Models
from clipserve.application.served_model import ServedModel
from clipserve.clip.artifact import IMAGE_GRAPH, TEXT_GRAPH, read_manifest
from clipserve.clip.images import ImageLimits
from clipserve.clip.manifest import ImageSpec, ModelManifest, ReferenceVectors, ScoringSpec, Source, TextSpec
from clipserve.clip.reference import REFERENCE_TEXTS, reference_pixels
from clipserve.clip.tokenizer import Tokenizer, load_tokenizer
from clipserve.engine.backend import Backend, Embeddings, Lengths, Pixels, TokenIds
from clipserve.settings import Settings
from clipserve.telemetry.metrics import Metrics
from clipserve.wiring.gateway import Gateway, open_gateway
from clipserve.wiring.options import GatewayOptions
from loadtests.fake_backend import FakeBackend
from tests.application.label_sets.memory_store import MemoryStore
from tests.support.constants import constants_among, with_constants
from tests.support.process import PATIENT_WITH_CLIENTS

DIM, SIZE, CONTEXT, EOT = 16, 32, 12, 2
TEXT = TextSpec(context_length=CONTEXT, pad_id=0, eot_id=EOT)


def toy_tokenizer() -> tokenizers.Tokenizer:
    """One token a character, between <start> and <end>."""
    vocabulary = {"<pad>": 0, "<start>": 1, "<end>": EOT, "<unknown>": 3}
    vocabulary |= {chr(code): code for code in range(32, 127)}
    encoder = tokenizers.Tokenizer(models.WordLevel(vocabulary, unk_token="<unknown>"))
    encoder.pre_tokenizer = pre_tokenizers.Split(tokenizers.Regex("."), "isolated")
    encoder.post_processor = processors.TemplateProcessing(
        single="<start> $A <end>", special_tokens=[("<start>", 1), ("<end>", EOT)]
    )
    return encoder


async def write_toy_artifact(folder: Path, name: str = "toy", text: TextSpec = TEXT, **changes: Any) -> Path:
    """An artifact whose encoders are `FakeBackend`'s; its graphs are empty files."""
    folder.mkdir(parents=True, exist_ok=True)
    encoder = toy_tokenizer()
    (folder / "tokenizer.json").write_text(encoder.to_str())
    for graph in (IMAGE_GRAPH, TEXT_GRAPH):
        (folder / graph).write_bytes(b"")
    backend = FakeBackend(DIM)
    await backend.start()
    tokenizer = Tokenizer(text, encoder)
    ids, lengths = tokenizer.pad(tokenizer.encode(REFERENCE_TEXTS, truncate=True), text.context_length)
    manifest = ModelManifest(
        name=name,
        embed_dim=DIM,
        image=ImageSpec(size=SIZE),
        text=text,
        scoring=ScoringSpec(logit_scale=10.0),
        prompt_templates=["{}"],
        files={path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in sorted(folder.iterdir())},
        source=Source(checkpoint="none", licence="none", random_weights=True),
        reference=ReferenceVectors(
            image_embeddings=(await backend.encode_image(reference_pixels(SIZE))).tolist(),
            text_embeddings=(await backend.encode_text(ids, lengths)).tolist(),
        ),
    ).model_copy(update=changes)
    (folder / "model.json").write_text(manifest.model_dump_json())
    return folder


class Recording(FakeBackend):
    """Remembers the sizes of its calls, which wait while `gate` is cleared."""

    def __init__(self, embed_dim: int = DIM) -> None:
        super().__init__(embed_dim)
        self.images: list[int] = []  # rows of each call
        self.texts: list[tuple[int, ...]] = []  # [N, L] of each call
        self.gate = asyncio.Event()
        self.gate.set()

    async def encode_image(self, pixels: Pixels) -> Embeddings:
        self.images.append(len(pixels))
        await self.gate.wait()
        return await super().encode_image(pixels)

    async def encode_text(self, token_ids: TokenIds, lengths: Lengths) -> Embeddings:
        self.texts.append(token_ids.shape)
        await self.gate.wait()
        return await super().encode_text(token_ids, lengths)


def served_model(
    folder: Path,
    backend: Backend,
    *,
    choices: Sequence[str] = (),
    cache_bytes: int = 1_000_000,
    metrics: Metrics | None = None,
) -> ServedModel:
    """The artifact in `folder` on `backend`, without an API; not started."""
    manifest, metrics = read_manifest(folder), metrics or Metrics()
    images = ImageEncoder(manifest, backend, decoders(metrics), ImageLimits(), metrics)
    texts = TextEncoder(manifest, load_tokenizer(folder, manifest.text), backend, metrics)
    classifiers = Classifiers(texts, manifest.scoring, cache_bytes, metrics)
    return ServedModel(manifest, choices, backend, images, texts, classifiers, Admission(1.0, metrics))


def decoders(metrics: Metrics) -> Decoders:
    """One image at a time, in a thread."""
    return Decoders(in_thread, 1, 10**9, metrics)


async def inference_on(folder: Path, *names: str, **changes: Any) -> Inference:
    """Models of these names on `FakeBackend`s, started; of a request at most 4 images."""
    models = Models()
    for name in names or ("toy",):
        await write_toy_artifact(folder / name, name=name, **changes)
        models[name] = served_model(folder / name, FakeBackend(DIM))
        await models[name].start(folder / name)
    return inference_of(models, RequestLimits(max_images=4))


def inference_of(
    models: Mapping[str, ServedModel],
    limits: RequestLimits | None = None,
    store: Store | None = None,
    charge: Charge | None = None,
    fetched: FetchedImages | None = None,
) -> Inference:
    """The use cases with these models, and label sets in `store`, or in memory."""
    known, limits, metrics = Models(models), limits or RequestLimits(), Metrics()
    label_sets = LabelSets(known, store or MemoryStore(), limits, metrics, charge)
    label_sets.put_wait_seconds = 60  # a busy machine has its time
    return Inference(known, label_sets, limits, charge, fetched)


# A request that is cancelled while it closes idle connections would leave some of them open.
KEPT = httpx.Limits(keepalive_expiry=None)


@dataclass
class Running:
    """A service that listens on a real socket."""

    gateway: Gateway
    url: str
    client: httpx.AsyncClient

    @property
    def rpc_address(self) -> str:
        """Where it speaks gRPC, if it does (`grpc_enabled`)."""
        assert self.gateway.rpc is not None
        return f"127.0.0.1:{self.gateway.rpc.port}"

    async def classify(self, *images: bytes, **fields: Any) -> httpx.Response:
        return await self.client.post("/classify", files=form(images, {"labels": ["a", "b"]} | fields))

    async def embed(self, *images: bytes, **fields: Any) -> httpx.Response:
        return await self.client.post("/embed", files=form(images, fields))


def form(images: Sequence[bytes], fields: Mapping[str, Any]) -> list[tuple[str, Any]]:
    """multipart/form-data as curl -F sends it; a list is a repeated field."""
    parts: list[tuple[str, Any]] = [("image", ("photo.png", image)) for image in images]
    for name, value in fields.items():
        values = value if isinstance(value, list) else [value]
        parts.extend((name, (None, str(each))) for each in values)
    return parts


@asynccontextmanager
async def serving(
    backend: Backend | None,
    /,
    *folders: Path,
    warm: bool = True,
    put_wait_seconds: float = 30,
    **settings: Any,
) -> AsyncIterator[Running]:
    """The whole service on a free port; `backend` behind every model, or the one the settings ask for.

    It decodes in threads, unless a test asks for processes: each of these takes a tenth of a second to start. Nor
    does it speak gRPC, unless a test asks for it. It is called `a` and `x` in tests that write their own headers.
    `settings` may name constants of layers too. A busy machine refuses nothing, unless a test asks for it.
    """
    defaults = {"decode_processes": False, "grpc_enabled": False, "grpc_port": 0, "allowed_hosts": ("a", "x")}
    patience = {**PATIENT_WITH_CLIENTS, "decode_seconds": 60, "fetch_seconds": 60}
    settings = {**defaults, **patience, **settings}
    constants = constants_among(settings)
    own = {name: value for name, value in settings.items() if name not in constants}
    chosen = Settings(models=folders, port=0, **own)
    options = with_constants(GatewayOptions.of(chosen), constants)
    async with open_gateway(chosen, (lambda *_: backend) if backend else None, options) as gateway:
        gateway.inference.label_sets.put_wait_seconds = put_wait_seconds
        server = gateway.server
        listener = socket.create_server((chosen.host, 0))
        port = listener.getsockname()[1]
        tasks = [asyncio.create_task(server.serve([listener]))]
        if gateway.rpc:
            gateway.rpc.listen()
            tasks.append(asyncio.create_task(gateway.rpc.serve()))
        while not server.started:
            await asyncio.sleep(0.005)
        try:
            if warm:
                await gateway.warm_up()
            url = f"http://127.0.0.1:{port}"
            async with httpx.AsyncClient(base_url=url, timeout=60, verify=False, limits=KEPT) as client:
                yield Running(gateway, url, client)
        finally:
            gateway.end()
            await asyncio.gather(*tasks)


async def eventually(holds: Callable[[], bool], seconds: float = 300) -> None:
    """Wait until it holds: Triton counts a call a moment after it has answered.

    It asks in a thread, because the event loop may be serving what it asks about.
    """
    async with asyncio.timeout(seconds):
        while not await asyncio.to_thread(holds):
            await asyncio.sleep(0.01)


def png(seed: int = 0, size: tuple[int, int] = (40, 30), kind: str = "PNG") -> bytes:
    """A small picture that is different for each seed."""
    pixels = np.random.default_rng(seed).integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, kind)
    return file.getvalue()
