"""The two Triton models of an artifact, and the shapes that the service sends them."""

from __future__ import annotations

from dataclasses import dataclass

from clipserve.clip.artifact import IMAGE_GRAPH, TEXT_GRAPH
from clipserve.clip.manifest import GPU_TEXT_BUCKETS, ModelManifest
from clipserve.engine.triton.contract import CALL_ROWS, Tensor, inputs, triton_model
from clipserve_models.triton_options import BatchPolicy, RepositoryOptions


@dataclass(frozen=True)
class Tower:
    """One graph of an artifact. `shapes`: the dims of all inputs for each shape of a row that the service sends."""

    name: str
    graph: str
    inputs: tuple[Tensor, ...]
    policy: BatchPolicy
    shapes: tuple[tuple[tuple[int, ...], ...], ...]

    @property
    def full_call(self) -> int:
        """The rows of a gateway's full call, as far as the model takes them."""
        return min(self.policy.max_batch_size, CALL_ROWS["text" if self.graph == TEXT_GRAPH else "image"])


def towers(manifest: ModelManifest, options: RepositoryOptions) -> tuple[Tower, Tower]:
    """The two Triton models of an artifact."""
    image, text = inputs(manifest, "image"), inputs(manifest, "text")
    lengths = manifest.text.lengths_of(GPU_TEXT_BUCKETS)
    of_texts = tuple(((length,), text[1].dims) for length in lengths)
    return (
        Tower(triton_model(manifest, "image"), IMAGE_GRAPH, image, options.image, ((image[0].dims,),)),
        Tower(triton_model(manifest, "text"), TEXT_GRAPH, text, options.text, of_texts),
    )
