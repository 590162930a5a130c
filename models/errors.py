"""What can go wrong while an artifact is made."""


class ModelsError(Exception):
    """The artifact cannot be made or is not right; the message says why and what to do."""
