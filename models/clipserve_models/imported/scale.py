"""The scale and bias of scores, which are in no ONNX graph: from the safetensors of the model that was exported."""

from __future__ import annotations

import json
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from clipserve.clip.manifest import ScoringSpec
from clipserve_models.errors import ModelsError, first_line
from clipserve_models.layouts.assigning import Assignment, weight_files
from clipserve_models.weights import STEMS, Tensor, constant, open_weights

_FIRST = 200_000  # bytes; a header has 35 to 72 thousand
_SECONDS = 30.0
_WORDS = ("logit_scale", "logit_bias")


def scoring_of(source: str) -> ScoringSpec:
    """Of a folder or file, or of a repository of the hub, ORG/NAME or ORG/NAME@REVISION, of which little is read.

    Raises:
        ModelsError: it is not there, or has no logit_scale.
    """
    path = Path(source)
    if path.exists():
        tensors = open_weights([path] if path.is_file() else weight_files(path, STEMS)[:1])
    else:
        tensors = _of_hub(source)
    return Assignment(source, tensors).scoring(sigmoid="logit_bias" in tensors)


def _of_hub(source: str) -> dict[str, Tensor]:
    from huggingface_hub import hf_hub_url

    name, _, revision = source.partition("@")
    for stem in STEMS:
        url = hf_hub_url(name, f"{stem}.safetensors", revision=revision or None)
        if (start := _range(url, 0, _FIRST)) is not None:
            break
    else:
        raise ModelsError(f"{source} has no {' or '.join(STEMS)}.safetensors: give --logit-scale.")
    end = 8 + int.from_bytes(start[:8], "little")
    if end > len(start):
        start = _range(url, 0, end) or b""
    try:
        header = json.loads(start[8:end])
        found = {word: header[word] for word in _WORDS if word in header}
        return {word: _tensor(url, end, told) for word, told in found.items()}
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ModelsError(f"{url} is no safetensors file: its header says {error!r}.") from None


def _range(url: str, first: int, end: int) -> bytes | None:
    """The bytes of a file from `first` up to `end`, or fewer at its end; None: there is no such file."""
    from huggingface_hub.utils import build_hf_headers, get_session

    headers = {**build_hf_headers(), "range": f"bytes={first}-{end - 1}"}
    try:
        with get_session().stream(
            "GET", url, headers=headers, timeout=_SECONDS, follow_redirects=True
        ) as answer:
            status = answer.status_code
            data: bytes = answer.read() if status == 206 else b""
    except (
        Exception
    ) as error:  # huggingface_hub, its HTTP client and the system each have exceptions of their own
        raise ModelsError(f"{url} could not be read: {first_line(error)}. Give --logit-scale.") from None
    if status == 404:
        return None
    if status != 206:
        raise ModelsError(
            f"{url} answers {status} where 206, a part of the file, is needed. A private repository needs "
            "HF_TOKEN; or give --logit-scale."
        )
    return data


def _tensor(url: str, data: int, told: dict[str, Any]) -> Tensor:
    """One of the numbers, which it reads at once."""
    first, end = told["data_offsets"]
    if not 0 <= first < end <= first + 8:
        raise ValueError(f"the numbers {told}")
    raw = _range(url, data + first, data + end) or b""
    with TemporaryDirectory() as folder:  # read as in a file of its own
        path = Path(folder) / "number.safetensors"
        header = json.dumps({"number": told | {"data_offsets": [0, end - first]}}).encode()
        path.write_bytes(len(header).to_bytes(8, "little") + header + raw)
        return constant(open_weights([path])["number"].read())
