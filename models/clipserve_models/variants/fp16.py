"""Writes fp16 variants: not by a converter of graphs, which adds casts around every operator that it does not know.

A graph that was built from weights has all that is needed to write it again in half precision. A traced image
encoder is loaded again from its checkpoint, verified to be the artifact's, and traced in half precision. Both come
after a survey of the values of the fp32 graphs.
"""

from __future__ import annotations

from collections.abc import Callable

from clipserve_models.errors import ModelsError, not_installed
from clipserve_models.graphs.file import stored
from clipserve_models.graphs.towers import write_image, write_text
from clipserve_models.variants.job import GRAPHS, Job, Largest, Tower
from clipserve_models.variants.survey import survey_all

WRITERS: dict[Tower, Callable[..., None]] = {"image": write_image, "text": write_text}


def write_fp16(job: Job) -> Largest:
    """Write the graphs of `job.towers` in half precision.

    Raises:
        ModelsError: the text encoder must stay fp32, a value of the fp32 graphs is too large, the checkpoint of a
            traced encoder is missing or not the artifact's, or --weights is given where nothing is traced.
    """
    found = {tower: stored(job.source / GRAPHS[tower]) for tower in job.towers}
    if None in found.values():
        try:
            from clipserve_models.variants import halved
        except ModuleNotFoundError as error:
            raise not_installed(error) from None
        halved.check(job, text="text" in found and found["text"] is None)  # before the survey, which is slow
    elif job.weights:
        raise ModelsError(
            f"{job.manifest.name} was built from its weights and has them: do not give --weights."
        )
    largest = survey_all(job)
    for tower, graph in found.items():
        job.say(f"writing {GRAPHS[tower]} in half precision")
        if graph is None:
            halved.write_image(job)
        else:
            WRITERS[tower](job.target / GRAPHS[tower], *graph, half=True)
    return largest
