"""The context of the checks of this machine."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from clipserve.clip.artifact import ArtifactError
from clipserve.clip.manifest import ModelManifest
from clipserve.settings import ModelSettings, Settings
from clipserve.settings.environment import BadSettings, read_settings
from clipserve.wiring.model_names import find, opened


@dataclass(frozen=True)
class Context:
    """The settings that checks use, and the folders that they read.

    Attributes:
        settings: those of the environment; the default for each invalid one.
        faults: a line for each invalid setting.
        proc, cgroup: folders of the kernel.
    """

    settings: Settings
    faults: Sequence[str] = ()
    proc: Path = Path("/proc")
    cgroup: Path = Path("/sys/fs/cgroup")

    def models(self) -> Iterator[tuple[Path, ModelManifest, ModelSettings]]:
        """The folder, the manifest and the settings of each readable artifact."""
        for model in self.settings.models:
            with suppress(ArtifactError):  # the check of models reports it; nothing is exported
                (found,) = opened([find(model, self.settings)])
                yield found.folder, found.manifest, self.settings.of_model(found.name)


def context_here() -> Context:
    """The context of this process's environment, without its invalid variables, so that other checks can run.

    Raises:
        BadSettings: the settings are invalid even without these variables.
    """
    faults: list[str] = []
    environment = dict(os.environ)
    try:
        while True:
            try:
                return Context(read_settings(), faults)
            except BadSettings as error:
                faults.extend(reason for reason in error.reasons if reason not in faults)
                ours = {name for name in os.environ if name.upper().startswith("CLIPSERVE_")}
                # A setting that is invalid because another was left out: use none.
                wrong = {name for name in ours if name.upper() in error.variables} or ours
                if not wrong:
                    raise
                for name in wrong:
                    del os.environ[name]
    finally:
        os.environ.update(environment)
