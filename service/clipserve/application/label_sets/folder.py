"""Label sets in files: `pets.toml` or `pets.json` in a folder, such as a ConfigMap of Kubernetes.

A file has the fields of a request to put the set; its examples are names of image files in the folder. If a file
is unreadable or invalid, the log says so, and the set stays as it was.
"""

from __future__ import annotations

import asyncio
import json
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from clipserve.api.fields import ImageInput
from clipserve.api.label_sets import LabelSetFields
from clipserve.api.limits import RequestLimits
from clipserve.api.requests import Choice
from clipserve.application.label_sets.definition import Contents
from clipserve.application.label_sets.request import LabelSetLimits, put_request
from clipserve.application.models import Models
from clipserve.application.served_model import ServedModel
from clipserve.errors import ClipError, UndecodableImage
from clipserve.files import read_bounded
from clipserve.telemetry.log import logger

_SUFFIXES = (".toml", ".json")

FileSet = tuple[ServedModel, Contents]
Signature = dict[str, tuple[int, int, int]]  # name of a file -> inode, time of its change, size


@dataclass
class Folder:
    """The files of one folder, and the label sets of their last valid contents."""

    path: Path
    limits: RequestLimits
    own_limits: LabelSetLimits
    _read: Signature = field(default_factory=dict)
    _sets: dict[str, FileSet] = field(default_factory=dict)
    _lost: bool = False

    async def read(self, models: Models) -> Mapping[str, FileSet]:
        """The label sets by name, from the last valid contents. The same object while no file changes."""
        return await asyncio.to_thread(self._sets_of, models)

    def _signature(self) -> Signature:
        found = {}
        try:
            for file in sorted(self.path.iterdir()):
                if file.is_file():
                    stat = file.stat()  # of what a link leads to: a ConfigMap is replaced by its link
                    found[file.name] = stat.st_ino, stat.st_mtime_ns, stat.st_size
        except OSError as error:
            if not self._lost:  # it is looked at several times a second
                self._lost = True
                logger.warning("label_sets_folder_unreadable", reason=error.strerror)
            return self._read
        self._lost = False
        return found

    def _sets_of(self, models: Models) -> dict[str, FileSet]:
        signature = self._signature()
        if signature == self._read:
            return self._sets
        sets = {}
        for file in sorted(map(Path, signature)):
            if file.suffix in _SUFFIXES:
                try:
                    sets[file.stem] = self._label_set(file, models)
                except (OSError, ValueError, TypeError, RecursionError, ClipError) as error:
                    self._say_wrong(file.name, error)
                    if file.stem in self._sets:
                        sets[file.stem] = self._sets[file.stem]
        self._read, self._sets = signature, sets
        return sets

    def _label_set(self, file: Path, models: Models) -> FileSet:
        text = self._bytes(file.name).decode()
        fields: dict[str, Any] = tomllib.loads(text) if file.suffix == ".toml" else json.loads(text)
        request = put_request(file.stem, LabelSetFields.model_validate(fields), self._image)
        # One that was trained for another fingerprint is not to vanish: it fails, and says why.
        fields_or_model = (
            request.fields if request.fields.weights is None else Choice(model=request.fields.model)
        )
        model = models.find(fields_or_model)
        return model, request.contents(model.manifest, self.limits, self.own_limits)

    def _image(self, name: str) -> ImageInput:
        try:
            return self._bytes(name)
        except (OSError, ValueError):
            return UndecodableImage(f"there is no file {name[:64]!r} beside it that can be read.")

    def _bytes(self, name: str) -> bytes:
        """Of a file in the folder, and nowhere else."""
        if Path(name).name != name:
            raise ValueError("not a name of a file")
        return read_bounded(self.path / name, self.own_limits.max_label_set_bytes)

    def _say_wrong(self, file: str, error: Exception) -> None:
        reason = str(error)
        if isinstance(error, ValidationError):
            first = error.errors(include_url=False, include_input=False)[0]
            reason = f"{'.'.join(map(str, first['loc']))}: {first['msg']}"
        elif isinstance(error, ClipError):
            reason = error.detail
        logger.error("label_set_file_wrong", file=file, reason=reason, hint="the set stays as it was")
