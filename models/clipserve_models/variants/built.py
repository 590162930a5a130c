"""Writes fp16 variants of artifacts that were built from weights: their graphs have all that is needed."""

from __future__ import annotations

from clipserve_models.errors import ModelsError
from clipserve_models.graphs.file import stored
from clipserve_models.graphs.towers import write_image, write_text
from clipserve_models.variants.job import GRAPHS, Job, Largest
from clipserve_models.variants.survey import survey_all

_WRITERS = {"image": write_image, "text": write_text}


def write_built(job: Job) -> Largest:
    """Write the graphs of `job.towers` in half precision, of the weights in the fp32 graphs.

    Raises:
        ModelsError: a value of the fp32 graphs is too large, or --weights is given.
    """
    if job.weights:
        raise ModelsError(
            f"{job.manifest.name} was built from its weights and has them: do not give --weights."
        )
    largest = survey_all(job)
    for tower in job.towers:
        job.say(f"writing {GRAPHS[tower]} in half precision")
        found = stored(job.source / GRAPHS[tower])
        assert found is not None  # as `making` has found
        _WRITERS[tower](job.target / GRAPHS[tower], *found, half=True)
    return largest
