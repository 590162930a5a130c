"""CLIP behind an address: a running service, asked over REST with many requests in flight."""

from __future__ import annotations

import asyncio
import base64
import io
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, TypeVar

import httpx2
import numpy as np
from PIL import Image

from clipserve.clip.formats import FORMATS, sniff
from clipserve.commands import shapes
from clipserve.commands.answers import Answer, CannotBeAsked, OddAnswer, client_options, exchange_later
from clipserve.commands.clips.clip import (
    DOUBTFUL,
    INVALID_VECTOR,
    OF_IMAGE,
    OF_TEXT,
    CannotGoOn,
    Classified,
    EmbeddedImage,
    ItemFailed,
    Question,
    ServedBy,
    failure,
)
from clipserve.commands.clips.waiting import Waiting, retry_after
from clipserve.commands.shapes import Embedded, Models
from clipserve.engine.backend import Vector

_FIRST_TRIES = 3  # an address where nothing is should be told soon
_TRIES = 10  # in a row in which the service has answered nobody: two minutes, as long as a restart takes
# Asked again later. What a proxy says of a service that is away counts too, and so does a deadline missed.
_LATER = frozenset({408, 425, 429, 502, 503, 504})
_TIMEOUT = httpx2.Timeout(60.0, connect=10.0, pool=None)
_TOO_LARGE = 413
_OFF_UNIT = 0.01  # of a vector's length: what float16 loses is less
_HOPELESS = (httpx2.UnsupportedProtocol, httpx2.LocalProtocolError)

S = TypeVar("S", bound=shapes.Shape)


@asynccontextmanager
async def clip_at(url: str, key: str | None, model: str | None, in_flight: int) -> AsyncIterator[RemoteClip]:
    """The model of this name, else the first, of the service at `url`. `key`: sent with every request.

    Raises:
        CannotGoOn: the service does not answer, serves no such model, or wants another key.
    """
    try:
        options = client_options(url, key)
    except CannotBeAsked as error:
        raise CannotGoOn(f"{error}.") from None
    if httpx2.URL(url).userinfo:
        raise CannotGoOn("--url must be without a user: services know keys alone.")
    limits = httpx2.Limits(max_connections=in_flight, max_keepalive_connections=in_flight)
    async with httpx2.AsyncClient(
        base_url=url.rstrip("/"), timeout=_TIMEOUT, limits=limits, **options
    ) as client:
        service = _Service(client, in_flight)
        answer = await service.ask("GET", "/v1/models", _FIRST_TRIES)
        yield RemoteClip(service, _chosen(service.content(answer, frozenset(), Models), model), in_flight)


def _chosen(answer: Models, name: str | None) -> ServedBy:
    models = {each.id: each for each in answer.data}
    if name is not None and name not in models:
        raise CannotGoOn(f"the service has no model {name}. It has {', '.join(models)}.")
    model = answer.data[0] if name is None else models[name]
    if not model.ready:
        raise CannotGoOn(f"the service cannot use {model.id} yet. Try again when it is ready.")
    return ServedBy(model.id, model.fingerprint, model.embed_dim)


class _Service:
    """Requests, asked again where that helps."""

    def __init__(self, client: httpx2.AsyncClient, in_flight: int) -> None:
        self._client = client
        self._places = asyncio.Semaphore(in_flight)
        self._waiting = Waiting()
        self._answered = 0

    async def ask(self, method: str, path: str, tries: int = _TRIES, **content: Any) -> Answer:
        """The answer to one request, whatever it is but a refusal for now.

        Raises:
            CannotGoOn: so many tries in a row have failed, and no other request was answered meanwhile.
        """
        failures, answered = 0, self._answered
        while True:
            async with self._places:
                await self._waiting.for_turn()
                answer, reason = await self._tried(method, path, content)
            if answer is not None and not _to_be_asked_again(answer):
                self._answered += 1
                return answer
            if answered != self._answered:
                failures, answered = 0, self._answered
            failures += 1
            if failures == tries:
                raise CannotGoOn(
                    f"the service does not answer: {reason}, {tries} times. Run the command again when it does."
                )
            await self._waiting.after(failures, None if answer is None else retry_after(answer.headers))

    async def _tried(self, method: str, path: str, content: dict[str, Any]) -> tuple[Answer | None, str]:
        try:
            answer = await exchange_later(self._client, method, path, **content)
        except OddAnswer as error:
            raise CannotGoOn(f"{error}.") from None
        except (*_HOPELESS, OverflowError) as error:
            raise CannotGoOn(f"the service cannot be asked: {error}") from None
        except httpx2.TransportError as error:
            return None, f"{type(error).__name__} {error}".strip()
        return answer, f"HTTP {answer.status} {_told(answer)[1]}".strip()

    def content(self, answer: Answer, own: frozenset[str], shape: type[S]) -> S:
        """What a good answer holds.

        Raises:
            ItemFailed, CannotGoOn: it is an error, or of another shape; see `failure`.
        """
        if answer.status != httpx2.codes.OK:
            code, detail = _told(answer)
            if answer.status == _TOO_LARGE and own and not code:
                raise ItemFailed("body_too_large", "a server on the way takes no body of this size.")
            if answer.status in (httpx2.codes.UNAUTHORIZED, httpx2.codes.FORBIDDEN):
                detail += " Give a key of the service with --key or CLIPSERVE_KEY."
            raise failure(code or f"HTTP {answer.status}", detail, own)
        try:
            return answer.shaped(shape)
        except OddAnswer as error:
            raise CannotGoOn(f"{error}.") from None


class RemoteClip:
    """A `Clip`."""

    def __init__(self, service: _Service, served_by: ServedBy, in_flight: int) -> None:
        self._service = service
        self._served_by = served_by
        self._in_flight = in_flight
        # A service that changes its model on the way refuses from then on.
        self._choice = {"model": served_by.model, "expect_fingerprint": served_by.fingerprint}

    @property
    def served_by(self) -> ServedBy:
        return self._served_by

    @property
    def in_flight(self) -> int:
        return self._in_flight

    async def embed_image(self, image: bytes) -> EmbeddedImage:
        response = await self._service.ask(
            "POST",
            "/embed",
            params=self._choice | {"encoding_format": "base64"},
            content=image,
            headers={"Content-Type": "application/octet-stream"},
        )
        vector = self._vector(self._service.content(response, OF_IMAGE, Embedded))
        try:
            with Image.open(io.BytesIO(image), formats=[sniff(image, FORMATS)]) as opened:
                return EmbeddedImage(vector, opened.size)
        except Exception:  # of a decoder, as in clipserve.clip.images: the service says that it is an image
            raise ItemFailed("undecodable_image", "the service embeds it, but it has no header.") from None

    async def embed_text(self, text: str, *, truncate: bool) -> Vector:
        asked = {"texts": [text], "truncate": truncate, "encoding_format": "base64"}
        response = await self._service.ask("POST", "/embed", json=asked | self._choice)
        return self._vector(self._service.content(response, OF_TEXT, Embedded))

    async def classify(self, image: bytes, question: Question) -> Classified:
        fields = [("labels", label) for label in question.labels]
        fields += [("templates", template) for template in question.templates]
        single = {"label_sets": question.label_set, "scoring": question.scoring, "top_k": question.top_k}
        fields += [(name, str(value)) for name, value in (single | self._choice).items() if value is not None]
        form: list[Any] = [("image", ("image", image))]
        form += [(name, (None, value)) for name, value in fields]
        answer = await self._service.ask("POST", "/classify", files=form)
        classified = self._service.content(answer, OF_IMAGE, shapes.Classified)
        labels = [label.model_dump() for label in classified.results[0].labels]
        return Classified(labels, classified.warnings)

    def _vector(self, answer: Embedded) -> Vector:
        if answer.fingerprint != self._served_by.fingerprint:
            raise CannotGoOn("the service has answered with another model than it was asked for.")
        try:
            vector = np.frombuffer(base64.b64decode(answer.results[0].embedding, validate=True), "<f4")
        except ValueError:
            raise ItemFailed(INVALID_VECTOR, "the service answered no base64 of float32.") from None
        if len(vector) != (wanted := self._served_by.embed_dim):
            raise ItemFailed(
                INVALID_VECTOR, f"the service answered {len(vector):,} numbers; its model has {wanted:,}."
            )
        if not abs(np.linalg.norm(vector.astype(np.float64)) - 1) < _OFF_UNIT:  # NaN is none either
            raise ItemFailed(INVALID_VECTOR, "the service answered no vector of unit length.")
        return vector


def _to_be_asked_again(answer: Answer) -> bool:
    return answer.status in _LATER and _told(answer)[0] not in DOUBTFUL


def _told(answer: Answer) -> tuple[str, str]:
    """The code and the sentence of an error; empty where a proxy, or another server, has answered."""
    problem = None if answer.status == httpx2.codes.OK else answer.problem()
    return ("", "") if problem is None else (problem.code, problem.detail)
