"""Whether Triton serves an artifact now, and how many rows a call may have.

Looked at a few times a second, so that readiness tells the truth within a second of a change. A server that says
no, or that refuses the connection, is gone; one that does not answer in time is not ready, but may be asked all the
same.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import Any

from tritonclient.grpc import aio as triton
from tritonclient.utils import InferenceServerException

from service.clip.manifest import ModelManifest
from service.clip.reference import MIN_COSINE
from service.concurrency import together
from service.engine.triton.contract import FINGERPRINT, PRECISION, TOWERS, Tower, inputs, output, triton_model
from service.errors import BackendUnavailable, ClipError
from service.telemetry.log import logger
from service.telemetry.metrics import Metrics

# Together well under a second. A busy server on few cores may need a good part of it to answer; a stopped one gives
# none.
_WATCH_SECONDS = 0.2
_PROBE_SECONDS = 0.5
_STATISTICS_EVERY = 5  # looks
_PHASES = ("queue", "compute_input", "compute_infer", "compute_output")


@dataclass(frozen=True)
class _Served:
    """What a model's configuration says: the rows that one call may have, and the precision that computes."""

    rows: int
    precision: str


class TritonWatch:
    """Looks at the two models of one artifact.

    Attributes:
        ready: both are served, as the last look saw it.
        max_batch: tower -> rows that one call may have; empty while Triton is gone.
        precision: what Triton computes in, where it is not the artifact's own precision. Known once both models
            were served, and the same from then on: models that compute in another one are refused.
    """

    def __init__(
        self,
        client: triton.InferenceServerClient,
        manifest: ModelManifest,
        headers: dict[str, str],
        metrics: Metrics,
    ) -> None:
        self._client = client
        self._manifest = manifest
        self._headers = headers
        self._metrics = metrics
        self.ready = False
        self.max_batch: dict[Tower, int] = {}
        self._precision: str | None = None  # the artifact's own, too
        self._state = "connecting"
        self._question: asyncio.Task[bool] | None = None

    @property
    def precision(self) -> str | None:
        return None if self._precision == self._manifest.precision else self._precision

    async def until_ready(self) -> None:
        """Wait until both models are served, for as long as it takes.

        Raises:
            BackendUnavailable: Triton serves other models under these names.
        """
        while not await self._look():
            await asyncio.sleep(_WATCH_SECONDS)

    async def watch(self) -> None:
        """Look until cancelled."""
        looks = 0
        try:
            while True:
                await asyncio.sleep(_WATCH_SECONDS)
                looks += 1
                try:
                    if await self._look() and looks % _STATISTICS_EVERY == 0:
                        await self._read_statistics()
                except ClipError as error:
                    self._enter("mismatch", error.detail)
        finally:
            if self._question is not None:
                self._question.cancel()

    async def _look(self) -> bool:
        """Whether both models are ready; learns their limits when they have just become so."""
        # One question at a time: a server that does not answer is not asked again, it only owes the answer.
        if self._question is None:
            self._question = asyncio.create_task(self._ask())
        await asyncio.wait({self._question}, timeout=_PROBE_SECONDS)
        if not self._question.done():
            self._enter("silent", f"no answer within {_PROBE_SECONDS} s")
            return False
        question, self._question = self._question, None
        try:
            served = question.result()
        except InferenceServerException as error:
            self._enter("gone", str(error.message()))
        else:
            self._enter(*(("ready", "") if served else ("gone", "it does not serve both models")))
        finally:
            del question  # `service.concurrency` says why
        return self.ready

    async def _ask(self) -> bool:
        served = await together(
            self._client.is_model_ready(triton_model(self._manifest, tower), headers=self._headers)
            for tower in TOWERS
        )
        if all(served) and not self.max_batch:
            await self._learn()
        return all(served)

    async def _learn(self) -> None:
        """Compare both models with the manifest; learn how many rows they take and what they compute in.

        Raises:
            BackendUnavailable: they are other models, or compute in another precision than they did before.
        """
        image, text = [await self._checked(tower) for tower in TOWERS]
        if image.precision != text.precision:
            raise BackendUnavailable(
                f"Triton computes images in {image.precision} and texts in {text.precision}. "
                "Make the repository anew from one artifact."
            )
        if self._precision not in (None, image.precision):
            raise BackendUnavailable(
                f"Triton now computes {self._manifest.name} in {image.precision}; this gateway was started on "
                f"{self._precision}, and its fingerprint says so. Serve that again, or restart the gateway."
            )
        self._precision = image.precision
        self.max_batch = dict(zip(TOWERS, (image.rows, text.rows), strict=True))

    def _enter(self, state: str, reason: str) -> None:
        """Remember what Triton is like; log it when it has changed."""
        self.ready = state == "ready"
        if state in ("gone", "mismatch"):
            self.max_batch = {}
        if state != self._state:
            logger.warning("triton", state=state, reason=reason, model=self._manifest.name)
        self._state = state

    async def _checked(self, tower: Tower) -> _Served:
        """Compare Triton's model with the manifest.

        Raises:
            BackendUnavailable: it is another model, or another build of this one.
        """
        name = triton_model(self._manifest, tower)
        config = (await self._client.get_model_config(name, headers=self._headers)).config
        tensors = {each.name: (_type_of(each), list(each.dims)) for each in [*config.input, *config.output]}
        needed = [*inputs(self._manifest, tower), output(self._manifest)]
        expected = {each.name: (each.data_type, list(each.dims)) for each in needed}
        if tensors != expected:
            raise BackendUnavailable(
                f"Triton's model {name} has tensors {tensors}; the artifact needs {expected}."
            )
        own = self._manifest.precision
        known = {self._manifest.fingerprint(precision=each): each for each in MIN_COSINE if each != own}
        known[self._manifest.fingerprint()] = own
        served, stated = (config.parameters[key].string_value for key in (FINGERPRINT, PRECISION))
        # Repositories that were written before the parameter `precision` do not state it.
        if served not in known or stated not in ("", known[served]):
            raise BackendUnavailable(
                f"Triton's model {name} is {served or 'of unknown origin'}"
                + (f", computed in {stated}" if stated else "")
                + f"; this gateway has {self._manifest.fingerprint()}. "
                "Make the repository anew from the same artifact."
            )
        return _Served(max(1, int(config.max_batch_size)), known[served])

    async def _read_statistics(self) -> None:
        for tower in TOWERS:
            try:
                answer = await self._client.get_inference_statistics(
                    triton_model(self._manifest, tower), headers=self._headers, client_timeout=_PROBE_SECONDS
                )
            except InferenceServerException:
                return  # the next look tells what is wrong
            for model in answer.model_stats:
                for phase in _PHASES:
                    seconds = getattr(model.inference_stats, phase).ns / 1e9
                    self._metrics.triton_phase(model.name, phase, seconds)


def _type_of(tensor: Any) -> str:
    return str(
        tensor.DESCRIPTOR.fields_by_name["data_type"].enum_type.values_by_number[tensor.data_type].name
    )
