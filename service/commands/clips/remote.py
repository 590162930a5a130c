"""CLIP behind an address: a running service, asked over REST with many requests in flight."""

from __future__ import annotations

import asyncio
import base64
import io
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any
from urllib.parse import urlsplit

import httpx2
import numpy as np
from PIL import Image

from service.clip.formats import FORMATS, sniff
from service.commands.clips.clip import (
    DOUBTFUL,
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
from service.commands.clips.waiting import Waiting, retry_after
from service.commands.reading import can_be_sent
from service.engine.backend import Vector

_FIRST_TRIES = 3  # an address where nothing is should be told soon
_TRIES = 10  # in a row in which the service has answered nobody: two minutes, as long as a restart takes
# Asked again later. What a proxy says of a service that is away counts too, and so does a deadline missed.
_LATER = frozenset({408, 425, 429, 502, 503, 504})
_TIMEOUT = httpx2.Timeout(60.0, connect=10.0, pool=None)
_TOO_LARGE = 413
_HOPELESS = (httpx2.UnsupportedProtocol, httpx2.LocalProtocolError)


@asynccontextmanager
async def clip_at(url: str, key: str | None, model: str | None, in_flight: int) -> AsyncIterator[RemoteClip]:
    """The model of this name, else the first, of the service at `url`. `key`: sent with every request.

    Raises:
        CannotGoOn: the service does not answer, serves no such model, or wants another key.
    """
    address = urlsplit(url)
    if address.scheme not in ("http", "https") or not address.hostname or address.username is not None:
        raise CannotGoOn("--url must be the address of a service, such as http://localhost:8080.")
    if key is not None and not can_be_sent(key):
        raise CannotGoOn("the key has characters that no key has. Look at --key or CLIPSERVE_KEY.")
    headers = {} if key is None else {"Authorization": f"Bearer {key}"}
    limits = httpx2.Limits(max_connections=in_flight, max_keepalive_connections=in_flight)
    async with httpx2.AsyncClient(
        base_url=url.rstrip("/"), headers=headers, timeout=_TIMEOUT, limits=limits
    ) as client:
        service = _Service(client, in_flight)
        answer = await service.ask("GET", "/v1/models", _FIRST_TRIES)
        yield RemoteClip(service, _chosen(service.content(answer, frozenset()), model), in_flight)


def _chosen(answer: dict[str, Any], name: str | None) -> ServedBy:
    models = {each["id"]: each for each in answer["data"]}
    if name is not None and name not in models:
        raise CannotGoOn(f"the service has no model {name}. It has {', '.join(models)}.")
    model = next(iter(models.values())) if name is None else models[name]
    if not model["ready"]:
        raise CannotGoOn(f"the service cannot use {model['id']} yet. Try again when it is ready.")
    return ServedBy(model["id"], model["fingerprint"], model["embed_dim"])


class _Service:
    """Requests, asked again where that helps."""

    def __init__(self, client: httpx2.AsyncClient, in_flight: int) -> None:
        self._client = client
        self._places = asyncio.Semaphore(in_flight)
        self._waiting = Waiting()
        self._answered = 0

    async def ask(self, method: str, path: str, tries: int = _TRIES, **content: Any) -> httpx2.Response:
        """The answer to one request, whatever it is but a refusal for now.

        Raises:
            CannotGoOn: so many tries in a row have failed, and no other request was answered meanwhile.
        """
        failures, answered = 0, self._answered
        while True:
            async with self._places:
                await self._waiting.for_turn()
                response, reason = await self._tried(method, path, content)
            if response is not None and not _to_be_asked_again(response):
                self._answered += 1
                return response
            if answered != self._answered:
                failures, answered = 0, self._answered
            failures += 1
            if failures == tries:
                raise CannotGoOn(
                    f"the service does not answer: {reason}, {tries} times. Run the command again when it does."
                )
            await self._waiting.after(failures, None if response is None else retry_after(response.headers))

    async def _tried(
        self, method: str, path: str, content: dict[str, Any]
    ) -> tuple[httpx2.Response | None, str]:
        try:
            response = await self._client.request(method, path, **content)
        except _HOPELESS as error:
            raise CannotGoOn(f"the service cannot be asked: {error}") from None
        except httpx2.TransportError as error:
            return None, f"{type(error).__name__} {error}".strip()
        return response, f"HTTP {response.status_code} {_told(response)[1]}".strip()

    def content(self, response: httpx2.Response, own: frozenset[str]) -> dict[str, Any]:
        """The JSON of a good answer.

        Raises:
            ItemFailed, CannotGoOn: it is an error; see `failure`.
        """
        if response.status_code != httpx2.codes.OK:
            code, detail = _told(response)
            if response.status_code == _TOO_LARGE and own and not code:
                raise ItemFailed("body_too_large", "a server on the way takes no body of this size.")
            if response.status_code in (httpx2.codes.UNAUTHORIZED, httpx2.codes.FORBIDDEN):
                detail += " Give a key of the service with --key or CLIPSERVE_KEY."
            raise failure(code or f"HTTP {response.status_code}", detail, own)
        try:
            answer = response.json()
        except ValueError:
            answer = None
        if not isinstance(answer, dict):
            raise CannotGoOn("what answers at --url is no clipserve: its answer is not JSON.")
        return answer


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
        vector = self._vector(self._service.content(response, OF_IMAGE))
        with Image.open(io.BytesIO(image), formats=[sniff(image, FORMATS)]) as opened:
            return EmbeddedImage(vector, opened.size)

    async def embed_text(self, text: str, *, truncate: bool) -> Vector:
        asked = {"texts": [text], "truncate": truncate, "encoding_format": "base64"}
        response = await self._service.ask("POST", "/embed", json=asked | self._choice)
        return self._vector(self._service.content(response, OF_TEXT))

    async def classify(self, image: bytes, question: Question) -> Classified:
        fields = [("labels", label) for label in question.labels]
        fields += [("templates", template) for template in question.templates]
        single = {"label_sets": question.label_set, "scoring": question.scoring, "top_k": question.top_k}
        fields += [(name, str(value)) for name, value in (single | self._choice).items() if value is not None]
        form: list[Any] = [("image", ("image", image))]
        form += [(name, (None, value)) for name, value in fields]
        answer = self._service.content(await self._service.ask("POST", "/classify", files=form), OF_IMAGE)
        return Classified(answer["results"][0]["labels"], answer.get("warnings", ()))

    def _vector(self, answer: dict[str, Any]) -> Vector:
        values = base64.b64decode(answer["results"][0]["embedding"])
        vector = np.frombuffer(values, "<f4")
        if len(vector) != self._served_by.embed_dim or answer["fingerprint"] != self._served_by.fingerprint:
            raise CannotGoOn("the service has answered with another model than it was asked for.")
        return vector


def _to_be_asked_again(response: httpx2.Response) -> bool:
    return response.status_code in _LATER and _told(response)[0] not in DOUBTFUL


def _told(response: httpx2.Response) -> tuple[str, str]:
    """The code and the sentence of an error; empty where a proxy, or another server, has answered."""
    if response.status_code == httpx2.codes.OK:
        return "", ""
    try:
        problem = response.json()
        return str(problem["code"]), str(problem["detail"])
    except (ValueError, KeyError, TypeError):
        return "", ""
