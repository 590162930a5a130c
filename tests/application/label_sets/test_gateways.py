"""Several gateways on a folder: what is put at one is served by all."""

from __future__ import annotations

from pathlib import Path

from hypothesis.stateful import run_state_machine_as_test

from clipserve.application.label_sets.store import Folder
from tests.application.label_sets.machine import FEW, Gateways
from tests.application.label_sets.making import MOST


def lost(folder: Path, away: bool) -> None:
    """A file is in the place of the folder, or the folder is back."""
    aside = folder.with_suffix(".aside")
    if away:
        if folder.exists():
            folder.rename(aside)
        folder.touch()
    else:
        folder.unlink()
        if aside.exists():
            aside.rename(folder)


class OnAFolder(Gateways):
    opens = staticmethod(lambda folder: Folder(folder, MOST))
    fail = staticmethod(lost)


def test_whatever_is_put_and_deleted_all_serve_the_last_of_it_and_nothing_else_is_kept() -> None:
    run_state_machine_as_test(OnAFolder, settings=FEW)
