"""CLIP in this process, for programs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from clipserve.client.blocking import Blocking
from clipserve.client.in_process import open_in_process
from clipserve.settings import read_settings


class Clip(Blocking):
    """A model in this process, without a server. It needs an engine: `pip install clipserve`.

    The same image gives the same bits on the same machine, whichever images share its call. Threads may share it.

    >>> import clipserve
    >>> clip = clipserve.Clip(backend="onnx")
    >>> image, words = clip.embed_images(["docs/cat.jpg"]), clip.embed_texts(["a cat", "a lorry"])
    >>> image.vectors.shape, str(image.vectors.dtype), image.errors
    ((1, 384), 'float32', {})
    >>> int((image.vectors @ words.vectors.T).argmax())  # of the words, the one that is nearest
    0
    >>> clip.classify(["docs/cat.jpg"], ["a cat", "a dog"], top_k=1).labels[0][0].label
    'a cat'
    >>> clip.embed_images(["docs/cat.jpg", "nowhere.jpg"]).errors[1].code
    'unreadable_file'
    >>> clip.close()
    """

    def __init__(self, model: str | Path | None = None, **settings: Any) -> None:
        """Load the model, which takes a second or more.

        Args:
            model: a folder with an artifact, or a name in CLIPSERVE_MODELS. None: the first model of
                CLIPSERVE_MODELS, by default the demo model.
            settings: any of docs/settings.md, without CLIPSERVE_: `backend="onnx"`. The environment gives the
                others. Threads of this process decode images, unless `decode_processes=True`.

        Raises:
            ClipserveError: the model or the engine does not exist, or the self-test fails.
            ValueError: a setting is invalid.
        """
        chosen = read_settings(**{"decode_processes": False, **settings})
        super().__init__(open_in_process(chosen, model, exact=True))
