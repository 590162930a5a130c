"""`clipserve models import`: the command line of `clipserve_models.imported`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from clipserve.clip.manifest import ScoringSpec
from clipserve_models.cache import in_cache
from clipserve_models.catalog import read_catalog
from clipserve_models.errors import ModelsError
from clipserve_models.export_command import timed


def import_model(
    folder: Annotated[
        Path, typer.Argument(help="An export of immich or transformers.js.", exists=True, file_okay=False)
    ],
    name: Annotated[str, typer.Option(help="The name of the artifact.")],
    scale_of: Annotated[
        str | None,
        typer.Option(help="The exported model: a repository of the hub, or a folder; its scale is read."),
    ] = None,
    logit_scale: Annotated[float | None, typer.Option(help="The scale of scores, such as 100.")] = None,
    logit_bias: Annotated[
        float | None, typer.Option(help="Their bias, of models trained with sigmoid.")
    ] = None,
    licence: Annotated[str, typer.Option(help="Of the weights.")] = "not stated",
    out: Annotated[Path | None, typer.Option(help="Default: NAME in CLIPSERVE_CACHE_DIR.")] = None,
) -> None:
    """Make an artifact of ready ONNX graphs; its vectors are those of that export."""
    from clipserve_models.imported import import_folder
    from clipserve_models.imported.scale import scoring_of

    if name in read_catalog() or name == "demo":
        raise ModelsError(f"{name} is the name of another model: give a name of its own with --name.")
    if (logit_scale is None) == (scale_of is None):
        raise ModelsError(
            "ONNX graphs have no scale of scores: give --logit-scale, or --scale-of their model."
        )
    if logit_scale is None:
        scoring = scoring_of(scale_of or "")
    else:
        function, bias = ("softmax", 0.0) if logit_bias is None else ("sigmoid", logit_bias)
        scoring = ScoringSpec.model_validate(
            {"function": function, "logit_scale": logit_scale, "logit_bias": bias}
        )
    import_folder(folder, out or in_cache(name), name=name, scoring=scoring, licence=licence, say=timed())
