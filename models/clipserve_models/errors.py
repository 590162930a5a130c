"""What can go wrong while an artifact is made."""


class ModelsError(Exception):
    """The artifact cannot be made or is not right; the message says why and what to do."""


def not_installed(error: ImportError) -> ModelsError:
    """The error to raise where a package of the extra `export` is missing, or cannot be imported."""
    if isinstance(error, ModuleNotFoundError) and error.name:
        reason = f"{error.name} is not installed"
    else:
        reason = str(error).strip().partition("\n")[0]
    return ModelsError(
        f"{reason}: pip install 'clipserve-models[export]', or in a checkout use `make model`."
    )
