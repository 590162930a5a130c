"""What checks know: of this machine, or of a server."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

from clipserve.clip.artifact import ArtifactError, read_manifest
from clipserve.clip.manifest import ModelManifest
from clipserve.commands.doctor.machine import Machine
from clipserve.commands.reading import BadSettings, read_settings
from clipserve.settings import ModelSettings, Settings
from clipserve.wiring.model_names import NoSuchModel, find


@dataclass(frozen=True)
class Context:
    """What checks of this machine know.

    Attributes:
        settings: those of the environment; a default in place of each that is wrong, and folders in place of names.
        faults: a line for each setting that is wrong.
        environment: the variables.
    """

    settings: Settings
    faults: Sequence[str] = ()
    environment: Mapping[str, str] = field(default_factory=lambda: dict(os.environ))
    machine: Machine = field(default_factory=Machine)

    def models(self) -> Iterator[tuple[Path, ModelManifest, ModelSettings]]:
        """Each artifact that can be read: its folder, its manifest, its settings."""
        for folder in self.settings.models:
            try:
                manifest = read_manifest(folder)
            except ArtifactError:  # the check of models says so
                continue
            yield folder, manifest, self.settings.of_model(manifest.name)


def context_here() -> Context:
    """Of this process's environment.

    Raises:
        BadSettings: without a variable the settings are wrong too.
    """
    environment = dict(os.environ)
    settings, faults = _settings()
    return Context(settings, faults, environment)


def _settings() -> tuple[Settings, list[str]]:
    """A variable that cannot be used is left out, so that the checks of all else can go on."""
    faults: list[str] = []
    left_out: set[str] = set()
    while True:
        try:
            with _without(left_out):
                return _with_folders(read_settings()), faults
        except BadSettings as error:
            wrong = {name for name in os.environ if name.upper() in error.variables} - left_out
            faults.extend(each for each in error.reasons if each not in faults)
            if not wrong:  # one that is wrong because another was left out: without any
                wrong = {name for name in os.environ if name.upper().startswith("CLIPSERVE_")} - left_out
            if not wrong:
                raise
            left_out |= wrong


def _with_folders(settings: Settings) -> Settings:
    """Nothing is exported: a name that has no folder stays, and the check of models says so."""
    folders = list(settings.models)
    for number, model in enumerate(folders):
        with suppress(NoSuchModel):
            folders[number] = find(model, settings)
    return settings.model_copy(update={"models": tuple(folders)})


@contextmanager
def _without(names: set[str]) -> Iterator[None]:
    kept = {name: os.environ.pop(name) for name in names if name in os.environ}
    try:
        yield
    finally:
        os.environ.update(kept)
