"""What today's torch.save writes of a model is read as torch.load reads it with `weights_only`."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from torch import nn

from clipserve_models.pickles import open_pickle


def test_what_torch_saves_is_read_as_torch_reads_it(tmp_path: Path) -> None:
    whole, tagged = torch.randn(4, 6), nn.Parameter(torch.randn(3, 2))
    tagged.tag = {"shared": [1, 2.5, None, "x"]}  # an attribute of one's own
    tied = nn.Linear(3, 3)
    saved = {
        "parameter": nn.Parameter(torch.randn(2)),
        "parameter with attributes": tagged,
        "buffer": nn.Buffer(torch.randn(2, 3)),
        "tied": tied.weight,
        "tied again": tied.weight,
        "a part": whole[1:3],
        "turned": whole.T,
        "turned twice": torch.randn(2, 3, 4).permute(2, 0, 1),
        "bf16": torch.randn(3, 3).bfloat16(),
        "fp16": torch.randn(3).half(),
        "fp64": torch.randn(3).double(),
        "one": torch.tensor(2.5),
        "empty": torch.empty(0, 3),
    }
    checkpoint = {"epoch": 3, "shape": whole.shape, "state_dict": saved}
    for told in (saved, checkpoint):
        torch.save(told, tmp_path / "w.pt")
        loaded = torch.load(tmp_path / "w.pt", weights_only=True)
        expected = loaded.get("state_dict", loaded)
        found = open_pickle(tmp_path / "w.pt")
        assert found.keys() == expected.keys()
        for name, tensor in expected.items():
            np.testing.assert_array_equal(found[name].read(), tensor.detach().float().numpy(), name)
