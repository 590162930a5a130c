"""Errors of making artifacts."""


class ModelsError(Exception):
    """The artifact cannot be made or is wrong; the message says why and what to do."""


class NotBuilt(ModelsError):
    """The model is of a kind that no builder knows; open_clip may."""


def not_installed(error: ImportError) -> ModelsError:
    """The error to raise if a package of the extra `export` is missing or cannot be imported."""
    if isinstance(error, ModuleNotFoundError) and error.name:
        reason = f"{error.name} is not installed"
    else:
        reason = str(error).strip().partition("\n")[0]
    return ModelsError(
        f"{reason}: pip install 'clipserve-models[export]'. In a checkout `make model NAME=...` exports a model; "
        "for other commands run `.venv-export/bin/python -m clipserve_models` in place of `clipserve models`."
    )


def not_from_hub(what: str, error: Exception) -> ModelsError:
    """The error of an export that needs `what`, which is on a model hub only, or a package that is not there."""
    if isinstance(error, ImportError):  # open_clip imports transformers only for the tokenizers that need it
        return not_installed(error)
    return ModelsError(
        f"{what} could not be loaded from the model hub: {first_line(error)}\nAn artifact needs it, also with "
        "random weights. Behind a proxy, set HTTPS_PROXY. If it is in a cache of the hub's, set HF_HOME."
    )


def first_line(error: BaseException) -> str:
    """The first line of another library's error, or its name if it has no text."""
    return str(error).strip().splitlines()[0][:200] if str(error).strip() else type(error).__name__
