"""The methods of all clients. Subclasses implement them for one item."""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable, Iterable, Sequence
from functools import partial
from typing import Any, TypeVar

import numpy as np

from clipserve.api.requests import ClassifyRequest
from clipserve.client.errors import FingerprintChanged, ItemFailed
from clipserve.client.images import ImageLike, as_file, listed
from clipserve.client.results import Classified, Embedded, Embeddings, Labelled, ServedBy
from clipserve.clip.zeroshot import ScoringFunction
from clipserve.concurrency import together
from clipserve.errors import WrongFingerprint

R = TypeVar("R")


class AsyncMethods(ABC):
    """One model: images and texts in; vectors and labels out.

    Each method takes any number of items. A bad item has its error in the result, and does not affect the others.
    Every method raises ClipserveError (`clipserve.client.errors` has the tree) if the whole call fails, and
    TypeError or ValueError for a wrong argument.
    """

    in_flight: int = 16  # items at a time

    @abstractmethod
    async def served_by(self) -> ServedBy:
        """The model: its name, its fingerprint, and the number of dimensions of its vectors."""

    async def pin(self) -> ServedBy:
        """The model that answers now; from now on only its vectors are given. In this process it never changes."""
        return await self.served_by()

    @abstractmethod
    async def label_sets(self) -> list[str]:
        """The names of the label sets of this model, for `classify`."""

    # Of one item. They raise ItemFailed, and the errors of a whole call.

    @abstractmethod
    async def embed_image(self, image: bytes) -> Embedded:
        """The vector of one image. `image`: a file's content."""

    @abstractmethod
    async def embed_text(self, text: str, *, truncate: bool) -> Embedded:
        """The vector of one text."""

    @abstractmethod
    async def classify_image(self, image: bytes, request: ClassifyRequest) -> Labelled:
        """The labels of one image. `request` has no images."""

    async def embed_images(self, images: Iterable[ImageLike]) -> Embeddings:
        """The vector of each image: float32 [N, D], of unit length.

        `images`: paths, bytes of files, PIL images, or arrays, uint8 [H, W, 3] in RGB.
        """
        return await self._embeddings([partial(self._image, image) for image in listed(images)])

    async def embed_texts(self, texts: Iterable[str], *, truncate: bool = False) -> Embeddings:
        """The vector of each text: float32 [N, D], of unit length, in the space of the images.

        `truncate`: cut a text of too many tokens; without it the text fails, with the code `text_too_long`.
        """
        return await self._embeddings([partial(self._text, text, truncate) for text in listed(texts)])

    async def classify(
        self,
        images: Iterable[ImageLike],
        labels: Sequence[str] = (),
        *,
        label_set: str | None = None,
        templates: Sequence[str] = (),
        background: Sequence[str] = (),
        scoring: ScoringFunction | None = None,
        temperature: float | None = None,
        threshold: float | None = None,
        top_k: int | None = None,
    ) -> Classified:
        """Rank `labels`, or the labels of a label set, for each image: the best first.

        The other arguments are those of `POST /classify`, explained in docs/api.md. None: the value of the label
        set or of the model.
        """
        request = ClassifyRequest(
            [],
            labels=listed(labels),
            templates=listed(templates),
            background=listed(background),
            label_sets=[] if label_set is None else [label_set],
            scoring=scoring,
            temperature=temperature,
            threshold=threshold,
            top_k=top_k,
        )

        async def one(image: ImageLike) -> Labelled:
            return await self.classify_image(await asyncio.to_thread(as_file, image), request)

        outcomes = await self._outcomes([partial(one, image) for image in listed(images)])
        good = [outcome for outcome in outcomes if isinstance(outcome, Labelled)]
        warnings = dict.fromkeys(warning for labelled in good for warning in labelled.warnings)
        labels_of = [outcome.labels if isinstance(outcome, Labelled) else () for outcome in outcomes]
        fingerprint = _only(good) or (await self.served_by()).fingerprint
        return Classified(labels_of, fingerprint, _errors(outcomes), [*warnings])

    async def _text(self, text: str, truncate: bool) -> Embedded:
        if not isinstance(text, str):
            raise TypeError(f"a text is a str, not {type(text).__name__}.")
        return await self.embed_text(text, truncate=truncate)

    async def _image(self, image: ImageLike) -> Embedded:
        return await self.embed_image(await asyncio.to_thread(as_file, image))

    async def _embeddings(self, items: Sequence[Callable[[], Awaitable[Embedded]]]) -> Embeddings:
        """`items`: what embeds each."""
        outcomes = await self._outcomes(items)
        good = {at: outcome for at, outcome in enumerate(outcomes) if isinstance(outcome, Embedded)}
        dim = next((len(each.vector) for each in good.values()), None) or (await self.served_by()).embed_dim
        fingerprint = _only([*good.values()]) or (await self.served_by()).fingerprint
        vectors = np.full((len(outcomes), dim), np.nan, np.float32)
        for at, embedded in good.items():
            vectors[at] = embedded.vector
        return Embeddings(vectors, fingerprint, _errors(outcomes))

    async def _outcomes(self, items: Sequence[Callable[[], Awaitable[R]]]) -> list[R | ItemFailed]:
        """The result of each item, or its error, in order."""
        outcomes: list[Any] = [None] * len(items)
        waiting = iter(enumerate(items))

        async def work() -> None:
            for position, item in waiting:
                try:
                    outcomes[position] = await item()
                except ItemFailed as error:
                    outcomes[position] = error.with_traceback(None)

        await together(work() for _ in range(self.in_flight))
        return outcomes


def _only(good: Sequence[Any]) -> str | None:
    """The fingerprint of all of them; None: there are none."""
    fingerprints = {item.fingerprint for item in good}
    if len(fingerprints) > 1:
        raise FingerprintChanged(
            "the model has changed while this call was under way, and its vectors cannot be compared. Ask again.",
            WrongFingerprint.code,
        )
    return next(iter(fingerprints), None)


def _errors(outcomes: Sequence[object]) -> dict[int, ItemFailed]:
    return {position: outcome for position, outcome in enumerate(outcomes) if isinstance(outcome, ItemFailed)}
