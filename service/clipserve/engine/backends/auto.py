"""`auto`: OpenVINO in bf16 where the processor has it and the model's vectors stay near; elsewhere onnxruntime.

It is a rule and no race: equal machines choose the same engine, and so the same fingerprint, at every start. On a
CPU without bf16 both engines take the same time (`docs/decisions/07-engines.md`), and OpenVINO more memory.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

from clipserve.clip.artifact import IMAGE_GRAPH, TEXT_GRAPH
from clipserve.clip.manifest import ModelManifest
from clipserve.clip.reference import check
from clipserve.engine.backends.onnx import OnnxEngine
from clipserve.engine.backends.openvino import computes_bf16, open_openvino
from clipserve.engine.in_process import Engine, EngineOptions, Feeds, ToLoad
from clipserve.telemetry.log import logger

ReferenceFeeds = Callable[[], Mapping[str, Feeds]]  # for each graph, the inputs of the self-test


def open_auto(
    folder: Path, manifest: ModelManifest, options: EngineOptions, reference: ReferenceFeeds
) -> ToLoad:
    """The engine of `auto`. `reference`: the inputs whose vectors the manifest has."""
    onnx = OnnxEngine(folder, options)
    if options.cuda or manifest.precision != "fp32" or not computes_bf16():
        return onnx
    return IfNear(open_openvino(folder, manifest, options), onnx, manifest, reference)


class IfNear:
    """Loads `rounding`, an engine of a lower precision, and keeps it if its vectors are near the manifest's.

    Else it loads `exact`. Near is what is asked of fp16: a cosine of 0.9995.
    """

    def __init__(
        self, rounding: Engine, exact: Engine, manifest: ModelManifest, reference: ReferenceFeeds
    ) -> None:
        self._rounding, self._exact = rounding, exact
        self._manifest, self._reference = manifest, reference
        self._chosen: Engine | None = None

    def load(self) -> Engine:
        """The engine, loaded. Called again, it gives the same one.

        Raises:
            BackendUnavailable: neither can be loaded.
        """
        if self._chosen:
            return self._chosen.load()
        if self._is_near():
            self._chosen = self._rounding
            return self._rounding  # loaded
        self._chosen = self._exact
        return self._exact.load()

    def _is_near(self) -> bool:
        engine = self._rounding
        try:
            engine.load()
            feeds = self._reference()
            images, texts = (engine.run(graph, feeds[graph]) for graph in (IMAGE_GRAPH, TEXT_GRAPH))
            check(self._manifest, images, texts, "fp16")
        except Exception as error:  # an engine may fail in any way; the other one serves
            logger.warning("engine_passed_over", engine=engine.name, error=str(error))
            engine.close()
            return False
        return True
