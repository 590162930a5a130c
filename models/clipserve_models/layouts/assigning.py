"""Gives the tensors of files their roles; a tensor without a role is refused."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from pathlib import Path

from clipserve.clip.manifest import ScoringSpec
from clipserve_models.architecture import Tower
from clipserve_models.errors import ModelsError
from clipserve_models.layouts.facts import read_facts
from clipserve_models.roles import Shape, check_tensors
from clipserve_models.tensors import Tensor, concatenated
from clipserve_models.weights import open_weights

# The last word of names of tensors that hold no weights.
_COMPUTED = ("position_ids", "attn_mask", "num_batches_tracked")


def weight_files(folder: Path, names: Iterable[str]) -> list[Path]:
    """The first of these files of weights that the folder has, or its shards after their index.

    Raises:
        ModelsError: it has none, or lacks a shard.
    """
    names = list(names)
    for name in names:
        if (whole := folder / name).is_file():
            return [whole]
        if (index := folder / f"{name}.index.json").is_file():
            named = read_facts(index).section("weight_map")
            shards = [folder / shard for shard in sorted({named.text(tensor) for tensor in named.values})]
            for shard in shards:
                if shard.parent != folder or not shard.is_file():
                    raise ModelsError(
                        f"{index} names {shard.name}, which is missing from {folder}: download it."
                    )
            return [index, *shards]
    raise ModelsError(f"{folder} has no weights: {' or '.join(names)} is missing.")


class Assignment:
    """The tensors of files, which get roles one after the other."""

    def __init__(self, where: Path | str, tensors: Mapping[str, Tensor]) -> None:
        """`where`: what errors call their file."""
        self._where = where
        self._left = dict(tensors)
        self.roles: dict[str, Tensor] = {}

    @classmethod
    def of_files(cls, files: list[Path]) -> Assignment:
        """Of those of `weight_files`. Raises ModelsError as `open_weights`; or an index names other tensors."""
        tensors = open_weights(path for path in files if path.suffix != ".json")
        if files[0].suffix == ".json":
            named = read_facts(files[0]).section("weight_map").values.keys()
            if wrong := named ^ tensors.keys():
                raise ModelsError(
                    f"{files[0]} and its shards differ in the tensor {min(wrong)!r}: download them again."
                )
        return cls(files[0], tensors)

    def __contains__(self, name: str) -> bool:
        return name in self._left

    def leave(self, names: Iterable[str]) -> None:
        """Tensors that no vector needs, if they are there."""
        for name in names:
            self._left.pop(name, None)

    def supply(self, name: str, tensor: Tensor) -> None:
        """A tensor that the files leave out."""
        self._left[name] = tensor

    def take(self, name: str, *shape: int) -> Tensor:
        """The tensor of this name, which then has a role. Raises ModelsError: it is missing, or not of `shape`."""
        if name not in self._left:
            raise ModelsError(
                f"{self._where} has no tensor {name!r}, which its configuration asks for: these are other "
                "weights, or a part of them."
            )
        tensor = self._left.pop(name)
        if shape and tensor.shape != shape:
            raise ModelsError(
                f"{self._where}: the tensor {name!r} has the shape {list(tensor.shape)}; the configuration "
                f"says {list(shape)}."
            )
        return tensor

    def give(self, role: str, *names: str, bias: bool = True) -> None:
        """A layer or norm: weight and bias, `NAME.weight` or `NAME_weight`; of several names they are joined."""
        for part in ("weight", "bias") if bias else ("weight",):
            taken = [self.take(f"{name}{'' if name.endswith('_') else '.'}{part}") for name in names]
            if len({tensor.shape for tensor in taken}) > 1:
                raise ModelsError(f"{self._where}: {names[0]}.{part} and its neighbours have other shapes.")
            self.roles[f"{role}.{part}"] = concatenated(taken) if len(taken) > 1 else taken[0]

    def give_all(self, role: str, where: str, names: Mapping[str, str]) -> None:
        """Layers and norms below `role`: what each is below `where`, several names with spaces between them."""
        for part, text in names.items():
            self.give(f"{role}.{part}", *(f"{where}.{name}" for name in text.split()))

    def give_blocks(self, role: str, where: str, tower: Tower, names: Mapping[str, str]) -> None:
        """The blocks of an encoder, which are numbered below `where`; `names` as for `give_all`."""
        for index in range(tower.layers):
            self.give_all(f"{role}.blocks.{index}", f"{where}.{index}", names)

    def scoring(self, *, sigmoid: bool) -> ScoringSpec:
        """From `logit_scale`, a logarithm in the file, and `logit_bias`. Raises ModelsError: no numbers."""
        values = []
        for name in ("logit_scale", "logit_bias") if sigmoid else ("logit_scale",):
            tensor = self.take(name)
            value = float(tensor.read().ravel()[0]) if tensor.size == 1 and tensor.floating else math.nan
            if not abs(value) < (13.8 if name == "logit_scale" else 1e6):  # exp(13.8) is a million
                raise ModelsError(
                    f"{self._where}: the tensor {name!r} is {value:g}, which cannot scale scores."
                )
            values.append(value)
        scale, *bias = values
        return ScoringSpec(
            function="sigmoid" if sigmoid else "softmax",
            logit_scale=math.exp(scale),
            logit_bias=bias[0] if bias else 0.0,
        )

    def finished(self, needed: Mapping[str, Shape]) -> dict[str, Tensor]:
        """The tensors by role. Raises ModelsError: one has no role, or `check_tensors` refuses them."""
        left = [name for name in self._left if name.rpartition(".")[2] not in _COMPUTED]
        if left:
            raise ModelsError(
                f"{self._where}: the tensor {min(left)!r} has no role in this architecture, so vectors would be "
                f"others ({len(left)} such tensors)."
            )
        check_tensors(needed, self.roles)
        return self.roles
