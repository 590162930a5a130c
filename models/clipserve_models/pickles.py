"""Reads a pickle of weights with PyTorch, which is told to run no code of it."""

from __future__ import annotations

from pathlib import Path

from clipserve_models.errors import ModelsError, first_line, not_installed


def as_safetensors(file: Path, target: Path) -> Path:
    """Write the tensors of `file` to `target`: of a state dict, or of a checkpoint of open_clip's training.

    Raises:
        ModelsError: PyTorch is missing, or the file has anything but tensors in it.
    """
    try:
        import torch
        from safetensors.torch import save_file
    except ModuleNotFoundError as error:
        raise not_installed(error) from None
    try:
        told = torch.load(file, map_location="cpu", weights_only=True)
        told = told.get("state_dict", told)
        tensors = {name.removeprefix("module."): value.contiguous() for name, value in told.items()}
        save_file(tensors, target)
    except Exception as error:  # unpickling raises whatever the file says
        raise ModelsError(
            f"{file} is no pickle of weights alone: {first_line(error)}. Nothing of it was run. Save the model's "
            "state dict as safetensors."
        ) from None
    return target
