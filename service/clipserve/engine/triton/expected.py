"""The check that all Triton servers have one artifact and compute it in one precision."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from clipserve.clip.manifest import TEXT_BUCKETS, ModelManifest
from clipserve.clip.reference import MIN_COSINE
from clipserve.concurrency import together
from clipserve.engine.backend import TokenIds
from clipserve.engine.triton.connection import Channel
from clipserve.engine.triton.contract import (
    FINGERPRINT,
    PRECISION,
    TEXT_LENGTHS,
    TOWERS,
    Tower,
    read_lengths,
    triton_model,
)
from clipserve.errors import BackendUnavailable

# Calls at a time for each instance of a model: one that it computes, and one that waits meanwhile.
CALLS_AN_INSTANCE = 2


class Served(NamedTuple):
    """Of a model's configuration.

    Attributes:
        rows: the most of one call.
        calls: so many at a time keep all instances on all GPUs busy.
        precision: what it computes in. `lengths`: of texts, if stated.
    """

    rows: int
    calls: int
    precision: str
    lengths: list[int]


class Expected:
    """The artifact that this gateway holds, and with which it compares each server. All servers share one object.

    Attributes:
        text_buckets: lengths below the context length to which texts are padded: those that every server accepted
            so far takes. A repository for a GPU has few, and a plan takes no others.
        precision: Triton's precision; None: it is the artifact's. The first accepted server decides it: servers
            with another precision are refused.
    """

    def __init__(self, manifest: ModelManifest, rows: Mapping[Tower, int | None] | None = None) -> None:
        """`rows`: of a call, as the operator has set them; None: as many as suit."""
        self._manifest = manifest
        self._rows = rows or {}
        self.models = {
            tower: triton_model(manifest, tower) for tower in TOWERS
        }  # tower -> its name in Triton
        self._precision: str | None = None  # the artifact's own, too
        self.text_buckets: Sequence[int] = TEXT_BUCKETS

    @property
    def name(self) -> str:
        return self._manifest.name

    @property
    def precision(self) -> str | None:
        return None if self._precision == self._manifest.precision else self._precision

    @property
    def served_precision(self) -> str:
        """The precision that the servers compute in, the artifact's own too."""
        return self._precision or self._manifest.precision

    def padded(self, token_ids: TokenIds) -> TokenIds:
        """int32 [N, L], padded again: a server that came after the first padding may not take its length."""
        rows, tokens = token_ids.shape
        spec = self._manifest.text
        length = spec.padded_length(tokens, self.text_buckets)
        if length == tokens:
            return token_ids
        padding = np.full((rows, length - tokens), spec.pad_id, token_ids.dtype)
        return np.concatenate([token_ids, padding], axis=1)

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
        if self._precision not in (None, image.precision):
            raise BackendUnavailable(
                f"Triton now computes {self.name} in {image.precision}; this gateway was started on "
                f"{self._precision}, and its fingerprint says so. Serve that again, or restart the gateway."
            )
        self._precision = image.precision
        if text.lengths:
            shorter = [each for each in text.lengths if each < self._manifest.text.context_length]
            self.text_buckets = [each for each in self.text_buckets if each in shorter]
        return dict(zip(TOWERS, (image, text), strict=True))

    async def _checked(self, server: Channel, tower: Tower) -> Served:
        """Compare Triton's model with the manifest.

        Raises:
            BackendUnavailable: it is another model, or another build of this one.
        """
        name = self.models[tower]
        config = (await server.ask("ModelConfig", name)).config
        exported = self._manifest.precision
        known = {
            self._manifest.fingerprint(precision=other): other for other in MIN_COSINE if other != exported
        }
        known[self._manifest.fingerprint()] = exported
        served, stated = (config.parameters[key].string_value for key in (FINGERPRINT, PRECISION))
        if served not in known or stated != known[served]:
            raise BackendUnavailable(
                f"Triton's model {name} is {served or 'of unknown origin'} in {stated or 'any precision'}; "
                f"this gateway has {self._manifest.fingerprint()}. Write the repository again from the same "
                "artifact."
            )
        most = max(1, int(config.max_batch_size))
        if (asked := self._rows.get(tower) or 0) > most:
            raise BackendUnavailable(
                f"Triton's model {name} takes {most} rows a call, and CLIPSERVE_MAX_BATCH_{tower.upper()}S asks "
                f"for {asked}: set {most} or less, or write the repository for more."
            )
        lengths = read_lengths(config.parameters[TEXT_LENGTHS].string_value)
        # Triton names the GPUs of a group; one on the CPU has none.
        instances = sum(group.count * max(1, len(group.gpus)) for group in config.instance_group)
        calls = CALLS_AN_INSTANCE * max(1, instances)
        return Served(most, calls, known[served], lengths)
