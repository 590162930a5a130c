"""Label sets that people write: `pets.toml` or `pets.json`, in a folder such as a ConfigMap of Kubernetes.

A file has the fields of a request to put the set; its examples are names of image files beside it.
"""

from __future__ import annotations

import json
import tomllib
from typing import Any

from pydantic import ValidationError

from clipserve.api.fields import ImageInput
from clipserve.api.label_sets import LabelSetFields
from clipserve.api.limits import RequestLimits
from clipserve.api.requests import Choice
from clipserve.application.label_sets.definition import Record
from clipserve.application.label_sets.request import LabelSetLimits, put_request
from clipserve.application.label_sets.store import Folder
from clipserve.application.models import Models
from clipserve.application.served_model import ServedModel
from clipserve.errors import ClipError, UndecodableImage

WRONG = (
    ValueError,
    TypeError,
    RecursionError,
    ClipError,
)  # what reading a set may raise, whoever has written it


def written(
    folder: Folder, file: str, text: bytes, models: Models, limits: RequestLimits, of_sets: LabelSetLimits
) -> tuple[ServedModel, Record]:
    """The model and the label set of a file in `folder`. Raises one of `WRONG`."""
    name, _, kind = file.rpartition(".")
    fields: dict[str, Any] = tomllib.loads(text.decode()) if kind == "toml" else json.loads(text)

    def image(named: str) -> ImageInput:
        try:
            return folder.file(named)
        except ValueError:
            return UndecodableImage(f"there is no file {named[:64]!r} beside it that can be read.")

    request = put_request(name, LabelSetFields.model_validate(fields), image)
    # One that was trained for another fingerprint is not to vanish: it fails, and says why.
    trained = request.fields.weights is not None
    model = models.find(Choice(model=request.fields.model) if trained else request.fields)
    return model, request.record(model.manifest, limits, of_sets)


def reason_of(error: Exception) -> str:
    """What is wrong, in a sentence."""
    if isinstance(error, ValidationError):
        first = error.errors(include_url=False, include_input=False)[0]
        return f"{'.'.join(map(str, first['loc']))}: {first['msg']}"
    return error.detail if isinstance(error, ClipError) else str(error)
