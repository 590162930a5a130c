"""All that serves, as one object: its start, and the two steps of its end."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import uvicorn
from starlette.types import ASGIApp

from clipserve.access.keys import Keys
from clipserve.application.inference import Inference
from clipserve.application.served_model import ServedModel
from clipserve.http1.connections import Connections
from clipserve.telemetry.metrics import Metrics
from clipserve.wiring.use_cases import UseCases

if TYPE_CHECKING:  # it loads gRPC
    from clipserve.rpc.server import RpcServer


@dataclass(frozen=True)
class Gateway:
    """All that serves: the fronts and the models behind them, which are ready when `warm_up` has returned.

    `rpc`: the gRPC front, if the settings want it. `keys`: those that are known; None: nobody is asked for one.
    """

    app: ASGIApp
    server: uvicorn.Server
    rpc: RpcServer | None
    metrics: Metrics
    use_cases: UseCases
    connections: Connections
    keys: Keys | None

    def __post_init__(self) -> None:
        self.metrics.draining.set_function(lambda: self.draining)
        self.metrics.models = lambda: [model.info for model in self.models.values() if model.started]

    @property
    def models(self) -> dict[Path, ServedModel]:
        return self.use_cases.models

    @property
    def inference(self) -> Inference:
        return self.use_cases.inference

    @property
    def draining(self) -> bool:
        return self.inference.draining

    def drain(self) -> None:
        """Not ready from now on; each answer is the last one on its connection."""
        self.inference.draining = self.connections.draining = True

    def end(self, *, at_once: bool = False) -> None:
        """Take no more requests; `at_once`: and wait for none of those in flight."""
        self.server.should_exit = True
        self.server.force_exit = self.server.force_exit or at_once
        if self.rpc:
            self.rpc.end(at_once=at_once)

    async def warm_up(self) -> None:
        """Start all models, side by side, then load the label sets.

        Raises:
            ArtifactError, BackendUnavailable, BackendFailed: a model cannot be served; the message says why.
        """
        await self.use_cases.start_models()
        await self.inference.label_sets.start()
