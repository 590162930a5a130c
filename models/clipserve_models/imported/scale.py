"""The scale and bias of scores, which are in no ONNX graph: from the weights of the model that was exported."""

from __future__ import annotations

from pathlib import Path

from clipserve.clip.manifest import ScoringSpec
from clipserve_models import hub
from clipserve_models.layouts.assigning import Assignment, weight_files
from clipserve_models.weights import OPEN_CLIP, TRANSFORMERS, open_weights


def scoring_of(source: str) -> ScoringSpec:
    """Of a folder or file, or of a repository of the hub, ORG/NAME or ORG/NAME@REVISION, which is downloaded.

    Raises:
        ModelsError: it is not there, or has no logit_scale.
    """
    path = Path(source)
    if not path.exists():
        name, _, revision = source.partition("@")
        path = hub.download(hub.Repository(name, revision or hub.MAIN)).folder
    files = [path] if path.is_file() else weight_files(path, (*OPEN_CLIP, *TRANSFORMERS))
    tensors = open_weights(each for each in files if each.suffix != ".json")
    return Assignment(source, tensors).scoring(sigmoid="logit_bias" in tensors)
