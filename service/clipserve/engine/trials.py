"""A file of the engines that trials have chosen, so that the next start need not repeat them.

The file names only the engine to load. The self-test compares its vectors with the manifest's as after a trial.
"""

from __future__ import annotations

import json
import os
from pathlib import Path

from clipserve.files import read_bounded
from clipserve.telemetry.log import logger

_MAX_BYTES = 65_536
_MOST = 64  # trials that are kept, the latest


class Trials:
    """The trials of one machine. `folder`: that of the file, made when the first choice is kept."""

    def __init__(self, folder: Path) -> None:
        self._path = folder / "engines.json"

    def recall(self, trial: str) -> str | None:
        """The name of the chosen engine; None: it is unknown. `trial`: everything that the choice depends on."""
        return self._read().get(trial)

    def keep(self, trial: str, engine: str) -> None:
        """Store the engine that a trial has chosen. If the file cannot be written, it only logs that."""
        others = {name: chosen for name, chosen in self._read().items() if name != trial}
        kept = dict([*others.items(), (trial, engine)][-_MOST:])
        own = self._path.with_suffix(f".{os.getpid()}")  # a concurrent reader sees one file or the other
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            own.write_text(json.dumps(kept), "utf-8")
            own.replace(self._path)
        except OSError as error:
            logger.info("engine_not_kept", file=str(self._path), reason=error.strerror)

    def _read(self) -> dict[str, str]:
        try:
            kept = json.loads(read_bounded(self._path, _MAX_BYTES))
            if isinstance(kept, dict) and all(isinstance(each, str) for each in kept.values()):
                return kept
            reason = "it is no object of strings"
        except FileNotFoundError:
            return {}
        except (OSError, ValueError, RecursionError) as error:
            reason = str(error)
        logger.warning("engines_tried_again", file=str(self._path), reason=reason)
        return {}
