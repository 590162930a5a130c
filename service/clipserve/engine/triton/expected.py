"""The checks that all Triton servers have one artifact, and still compute.

A server that was set aside is probed with one row for each encoder: the first that a server has answered, those of
the service's self-test.
"""

from __future__ import annotations

from dataclasses import replace
from typing import NamedTuple

import grpc
import numpy as np

from clipserve.clip.manifest import ModelManifest
from clipserve.concurrency import together
from clipserve.engine.triton.connection import Channel
from clipserve.engine.triton.contract import FINGERPRINT, TOWERS, Tower, triton_model
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
    busy.
    """

    rows: int
    calls: int


class Expected:
    """The artifact that this gateway holds, and with which it compares each server. They share one object."""

    def __init__(self, manifest: ModelManifest, images: int | None = None, texts: int | None = None) -> None:
        """`images`, `texts`: of a call, as the operator has set them; None: as many as suit."""
        self.name, self._fingerprint = manifest.name, manifest.fingerprint()
        self._rows: dict[Tower, int] = {"image": images or 0, "text": texts or 0}
        self.models = {tower: triton_model(manifest, tower) for tower in TOWERS}  # their names in Triton
        self._known: dict[Tower, TritonCall] = {}  # of one row

    async def ready(self, server: Channel) -> bool:
        """Whether the server says that both models are ready. Raises grpc.aio.AioRpcError."""
        answers = await together(server.ask("ModelReady", model) for model in self.models.values())
        return all(answer.ready for answer in answers)

    async def served(self, server: Channel) -> dict[Tower, Served]:
        """Compare both models with the artifact, and return what the server's configurations say.

        Raises:
            BackendUnavailable: they are other models, or take fewer rows than the operator has set.
            grpc.aio.AioRpcError: the server did not answer.
        """
        return {tower: await self._checked(server, tower) for tower in TOWERS}

    async def _checked(self, server: Channel, tower: Tower) -> Served:
        name = self.models[tower]
        config = (await server.ask("ModelConfig", name)).config
        served = config.parameters[FINGERPRINT].string_value
        if served != self._fingerprint:
            raise BackendUnavailable(
                f"Triton's model {name} is {served or 'of unknown origin'}; this gateway has {self._fingerprint}. "
                "Write the repository again from the same artifact."
            )
        most = max(1, int(config.max_batch_size))
        if (asked := self._rows[tower]) > most:
            raise BackendUnavailable(
                f"Triton's model {name} takes {most} rows a call, and CLIPSERVE_MAX_BATCH_{tower.upper()}S asks "
                f"for {asked}: set {most} or less, or write the repository for more."
            )
        # Triton names the GPUs of a group; one on the CPU has none.
        instances = sum(group.count * max(1, len(group.gpus)) for group in config.instance_group)
        return Served(most, CALLS_AN_INSTANCE * max(1, instances))

    def learn(self, call: TritonCall) -> None:
        """Keep the first row of the first call of each encoder that was answered."""
        if call.tower not in self._known:
            arrays = [np.array(array[:1]) for array in call.arrays]
            self._known[call.tower] = replace(call, arrays=arrays)

    async def probe(self, server: Channel) -> bool:
        """Have the server compute the known rows; without any it passes. A full queue is no fault of the server.

        Returns:
            whether it passes; False if it is leaving, or a proxy does not reach it now.

        Raises:
            Sick: it fails, or does not answer in time.
        """
        for tower, call in list(self._known.items()):
            try:
                await server.infer(call.message(_PROBE_SECONDS), _PROBE_SECONDS)
            except grpc.aio.AioRpcError as error:
                failure = translated(error)
                if isinstance(failure, Overloaded):
                    continue
                if isinstance(failure, TryElsewhere) and failure.reason != "internal":
                    return False
                raise Sick(f"{tower}: {error.details()}") from None
        return True
