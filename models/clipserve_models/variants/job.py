"""The input and the result of writers. Each precision has a writer of graphs."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from clipserve.clip.artifact import IMAGE_GRAPH, TEXT_GRAPH
from clipserve.clip.manifest import ModelManifest
from clipserve.clip.prompts import fill
from clipserve.clip.template_sets import TEMPLATE_SETS
from clipserve.clip.tokenizer import load_tokenizer
from clipserve_models.variants.samples import CALIBRATION_PROMPTS, Photos, spread, text_feeds
from clipserve_models.verify import Feeds

VariantPrecision = Literal["fp16", "bf16", "int8"]
Method = Literal["dynamic", "static"]
Tower = Literal["image", "text"]
GRAPHS: dict[Tower, str] = {"image": IMAGE_GRAPH, "text": TEXT_GRAPH}


@dataclass(frozen=True)
class Job:
    """The task of a writer.

    Attributes:
        source: the folder of the fp32 artifact.
        manifest: that artifact's.
        target: the folder to write the graphs into.
        towers: the encoders to write.
        photos: photos that the writer may use.
        method: how int8 finds the ranges of activations.
        say: gets each stage.
    """

    source: Path
    manifest: ModelManifest
    target: Path
    towers: tuple[Tower, ...]
    photos: Photos
    method: Method
    say: Callable[[str], None]

    def feeds(self, tower: Tower) -> list[Feeds]:
        """Inputs of an encoder that the writer may use, one photo a batch. The gate uses other prompts."""
        if tower == "image":
            return list(self.photos.feeds(batch=1))
        templates = TEMPLATE_SETS["imagenet-7"].templates
        prompts = [fill(template, label) for label in self.photos.labels for template in templates]
        some = [prompts[row] for row in spread(len(prompts), CALIBRATION_PROMPTS)]
        return list(text_feeds(some, load_tokenizer(self.source, self.manifest.text), self.manifest.text))


@dataclass(frozen=True)
class Largest:
    """The tensor of a graph with the largest absolute value; infinite if a value was not finite."""

    graph: str
    tensor: str
    value: float


# Returns the largest value of the fp32 graphs, if it has measured that.
Writer = Callable[[Job], Largest | None]
