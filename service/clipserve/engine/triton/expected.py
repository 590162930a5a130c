"""The checks that all Triton servers have one artifact, compute it in one precision, and still compute.

A server that was set aside is probed with one row for each encoder, whose vector is known: the first that a server
has answered, those of the service's self-test, which compares their vectors with the artifact's before it serves.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import NamedTuple

import grpc
import numpy as np

from clipserve.clip.manifest import TEXT_BUCKETS, ModelManifest
from clipserve.clip.reference import MIN_COSINE, lowest_cosine
from clipserve.concurrency import together
from clipserve.engine.backend import Embeddings
from clipserve.engine.triton.connection import Channel
from clipserve.engine.triton.contract import (
    EMBEDDING,
    FINGERPRINT,
    PRECISION,
    TEXT_LENGTHS,
    TOWERS,
    Tower,
    read_lengths,
    triton_model,
)
from clipserve.engine.triton.failures import TryElsewhere, translated
from clipserve.engine.triton.message import TritonCall
from clipserve.errors import BackendUnavailable, Overloaded

# Calls at a time for each instance of a model: one that it computes, and one that waits meanwhile.
CALLS_AN_INSTANCE = 2
_PROBE_SECONDS = 10.0  # for an answer: a busy server may have a queue


class Sick(Exception):
    """The server computes nothing."""


class Served(NamedTuple):
    """Of a model's configuration: the most rows of one call; so many calls at a time keep all instances on all GPUs
    busy; what it computes in; the lengths of texts, if stated.
    """

    rows: int
    calls: int
    precision: str
    lengths: list[int]


class Expected:
    """The artifact that this gateway holds, and with which it compares each server. All servers share one object.

    Attributes:
        text_buckets: lengths below the context length to which texts are padded. A repository for a GPU has few,
            and a plan takes no others.
        precision: Triton's precision; None: it is the artifact's.

    The first accepted server decides both; servers that state others are refused.
    """

    def __init__(self, manifest: ModelManifest, images: int | None = None, texts: int | None = None) -> None:
        """`images`, `texts`: of a call, as the operator has set them; None: as many as suit."""
        self._manifest = manifest
        self._rows: dict[Tower, int] = {"image": images or 0, "text": texts or 0}
        self.models = {tower: triton_model(manifest, tower) for tower in TOWERS}  # their names in Triton
        self._precision: str | None = None  # the artifact's own, too
        self._lengths: list[int] | None = None
        self.text_buckets: Sequence[int] = TEXT_BUCKETS
        self._known: dict[Tower, tuple[TritonCall, Embeddings]] = {}  # float32 [1, D]

    @property
    def name(self) -> str:
        return self._manifest.name

    @property
    def precision(self) -> str | None:
        return None if self._precision == self._manifest.precision else self._precision

    async def ready(self, server: Channel) -> bool:
        """Whether the server says that both models are ready. Raises grpc.aio.AioRpcError."""
        answers = await together(server.ask("ModelReady", model) for model in self.models.values())
        return all(answer.ready for answer in answers)

    async def served(self, server: Channel) -> dict[Tower, Served]:
        """Compare both models with the manifest, and return what the server's configurations say.

        Raises:
            BackendUnavailable: the models are others, or compute in another precision than the first server's.
            grpc.aio.AioRpcError: the server did not answer.
        """
        image, text = [await self._checked(server, tower) for tower in TOWERS]
        if image.precision != text.precision:
            raise BackendUnavailable(
                f"Triton computes images in {image.precision} and texts in {text.precision}. "
                "Write the repository again from one artifact."
            )
        if self._precision not in (None, image.precision) or self._lengths not in (None, text.lengths):
            raise BackendUnavailable(
                f"Triton now computes {self.name} in {image.precision}, texts of {text.lengths or 'any'} tokens; "
                f"this gateway was started on {self._precision} and {self._lengths or 'any'}. Serve that again, or "
                "restart the gateway."
            )
        self._precision, self._lengths = image.precision, text.lengths
        if text.lengths:
            self.text_buckets = [each for each in TEXT_BUCKETS if each in text.lengths]
        return dict(zip(TOWERS, (image, text), strict=True))

    async def _checked(self, server: Channel, tower: Tower) -> Served:
        """Compare Triton's model with the manifest.

        Raises:
            BackendUnavailable: it is another model, or another build of this one.
        """
        name = self.models[tower]
        config = (await server.ask("ModelConfig", name)).config
        exported = self._manifest.precision
        known = {self._manifest.fingerprint(precision=each): each for each in MIN_COSINE if each != exported}
        known[self._manifest.fingerprint()] = exported
        served, stated = (config.parameters[key].string_value for key in (FINGERPRINT, PRECISION))
        if served not in known or stated != known[served]:
            raise BackendUnavailable(
                f"Triton's model {name} is {served or 'of unknown origin'} in {stated or 'any precision'}; "
                f"this gateway has {self._manifest.fingerprint()}. Write the repository again from the same "
                "artifact."
            )
        most = max(1, int(config.max_batch_size))
        if (asked := self._rows[tower]) > most:
            raise BackendUnavailable(
                f"Triton's model {name} takes {most} rows a call, and CLIPSERVE_MAX_BATCH_{tower.upper()}S asks "
                f"for {asked}: set {most} or less, or write the repository for more."
            )
        # Triton names the GPUs of a group; one on the CPU has none.
        instances = sum(group.count * max(1, len(group.gpus)) for group in config.instance_group)
        lengths = read_lengths(config.parameters[TEXT_LENGTHS].string_value)
        return Served(most, CALLS_AN_INSTANCE * max(1, instances), known[served], lengths)

    def learn(self, call: TritonCall, embeddings: Embeddings) -> None:
        """Keep the first row of the first answer of each encoder. `embeddings`: float32 [N, D]."""
        if call.tower not in self._known:
            row = replace(call, arrays=[np.array(array[:1]) for array in call.arrays])
            self._known[call.tower] = row, embeddings[:1].copy()

    async def probe(self, server: Channel) -> bool:
        """Have the server compute the known rows; without any it passes. A full queue is no fault of the server.

        Returns:
            whether it passes; False if it is leaving, or a proxy does not reach it now.

        Raises:
            Sick: it fails, or does not answer in time.
            BackendUnavailable: it gives another vector.
        """
        for tower, (call, known) in list(self._known.items()):
            try:
                answer = await server.infer(call.message(_PROBE_SECONDS), _PROBE_SECONDS)
            except grpc.aio.AioRpcError as error:
                failure = translated(error)
                if isinstance(failure, Overloaded):
                    continue
                if isinstance(failure, TryElsewhere) and failure.reason != "internal":
                    return False
                raise Sick(f"{tower}: {error.details()}") from None
            vector = np.asarray(answer.as_numpy(EMBEDDING), np.float32)
            cosine = lowest_cosine(vector, known) if vector.shape == known.shape else np.nan
            if not cosine >= MIN_COSINE[self._precision or self._manifest.precision]:  # also true of NaN
                raise BackendUnavailable(f"{tower}: a vector is at cosine {cosine:.6f} to the one before")
        return True
