"""Pickles of weights are read without PyTorch; attacks are in tests/models/hub/test_sabotage.py."""

from __future__ import annotations

import re
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from clipserve_models import pickles
from clipserve_models.errors import ModelsError
from clipserve_models.pickles import open_pickle
from tests.models.pickle_attacks import ATTACKS
from tests.models.torch_files import (
    END,
    START,
    name,
    number,
    state,
    tensor,
    with_attributes,
    word,
    write,
    write_torch,
)

VALUES = np.arange(6, dtype=np.float32).reshape(2, 3)
RAW = {"0": VALUES.tobytes()}
GOOD = tensor("0", (2, 3))


def of_training(program: bytes) -> bytes:
    """What open_clip's training saves: the weights beside a number, a list and a fact of their own."""
    inner = program[len(START) : -len(END)] + b"}" + word("_metadata") + b"}sb"
    facts = word("epoch") + number(3) + word("losses") + b"](G" + bytes(8) + b"Ne"
    return START + b"}(" + facts + word("state_dict") + inner + b"u" + END


@pytest.mark.parametrize("wrapped", [lambda program: program, of_training], ids=["weights", "of training"])
def test_tensors_are_those_that_were_saved(wrapped: Callable[[bytes], bytes], tmp_path: Path) -> None:
    arrays = {"a": VALUES, "module.b": VALUES.astype(np.float16), "ids": np.arange(3), "one": np.float32(7)}
    write_torch(tmp_path / "w.bin", {key: np.asarray(value) for key, value in arrays.items()}, wrapped)
    found = open_pickle(tmp_path / "w.bin")
    assert list(found) == ["a", "b", "ids", "one"]
    assert [each.floating for each in found.values()] == [True, True, False, True]
    assert np.array_equal(found["a"].read(), VALUES)
    assert np.array_equal(found["b"].read(), VALUES)
    assert found["one"].read() == 7


def test_two_tensors_may_be_parts_of_one_storage(tmp_path: Path) -> None:
    parts = {"first": tensor("0", (2,), count=6), "last": tensor("0", (1, 3), count=6, offset=3)}
    write(tmp_path / "w.pt", state(parts), RAW)
    found = open_pickle(tmp_path / "w.pt")
    assert found["first"].read().tolist() == [0, 1]
    assert found["last"].read().tolist() == [[3, 4, 5]]


def test_a_turned_tensor_and_one_with_attributes_have_the_values_that_were_saved(tmp_path: Path) -> None:
    parts = {"turned": tensor("0", (3, 2), strides=(1, 3)), "own": with_attributes(GOOD)}
    parts["parameter"] = (
        name("torch._utils", "_rebuild_parameter_with_state") + b"(" + GOOD + b"\x88" + b"}" + b"}tR"
    )
    write(tmp_path / "w.pt", state(parts), RAW)
    found = open_pickle(tmp_path / "w.pt")
    assert found["turned"].read().tolist() == VALUES.T.tolist()
    assert found["own"].read().tolist() == found["parameter"].read().tolist() == VALUES.tolist()


@pytest.mark.parametrize("attack", ATTACKS)
def test_each_attack_is_refused_for_its_own_reason(attack: str, tmp_path: Path) -> None:
    """What every refusal says, before and after the reason, does not count."""
    content, said = ATTACKS[attack]
    write(tmp_path / "w.bin", content, RAW)
    with pytest.raises(ModelsError) as refused:
        open_pickle(tmp_path / "w.bin")
    reason = str(refused.value).partition("no pickle of weights alone: ")[2].partition(". Nothing of it")[0]
    assert re.search(said, reason), reason


def test_archives_that_are_no_checkpoint_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "w.bin"

    def refused(said: str) -> None:
        with pytest.raises(ModelsError, match=said):
            open_pickle(path)

    write(path, b"(" * 5_000_000, RAW)
    refused(r"its data\.pkl has 5,000,000 bytes, and 4,000,000 are allowed")
    write(path, state({"w": GOOD}), RAW | {str(place): b"" for place in range(1, 30)})
    monkeypatch.setattr(pickles, "_MAX_FILES", 20)  # writing 50,000 takes seconds
    refused("it has 33 files inside, and 20 are allowed")
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("archive/constants.pkl", b"")
        archive.writestr("archive/data.pkl", b"")
    refused("it is a program of TorchScript")
    path.unlink()
    refused("cannot be read: No such file")
