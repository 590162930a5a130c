"""CLIP on a running server: REST with many requests in flight."""

from __future__ import annotations

import base64
import functools
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, Concatenate, ParamSpec, Self, TypeVar

import numpy as np

from clipserve.api.answers import Answer, Classification, Embeddings, ImageLabels, ImageVector
from clipserve.api.requests import ClassifyRequest
from clipserve.api.sets import LabelSetList
from clipserve.api.states import ModelList
from clipserve.client.blocking import Blocking
from clipserve.client.errors import OF_IMAGE, OF_TEXT, OddAnswer, Refused, Unreachable, of_item, refusal
from clipserve.client.http import MAX_ANSWER_BYTES, Connection
from clipserve.client.methods import AsyncMethods
from clipserve.client.results import Embedded, Labelled, ServedBy
from clipserve.errors import WrongFingerprint

_VECTOR_BYTES = 1_000_000  # in base64, of 180,000 dimensions
_OFF_UNIT = 0.01  # of a vector's length; float16 rounds by less
URL = "http://localhost:8080"

P = ParamSpec("P")
S = TypeVar("S", bound=Answer)


class AsyncClient(AsyncMethods):
    """CLIP on a running server, for programs with an event loop.

    A client reuses its connections: make one and keep it, in one event loop. It retries requests that the server
    refuses for now, after the time in `Retry-After`, and requests that get no answer.
    """

    def __init__(
        self,
        url: str = URL,
        *,
        key: str | None = None,
        model: str | None = None,
        expect_fingerprint: str | None = None,
        ca_file: str | Path | None = None,
        timeout: float = 60.0,
        retry_seconds: float = 120.0,
        in_flight: int = 16,
        max_answer_bytes: int = MAX_ANSWER_BYTES,
    ) -> None:
        """Make a client. Nothing is sent yet.

        Args:
            url: http://host:port or https://host:port, with a path if the server is behind one.
            key: sent with every request, only over https or to this machine.
            model: its name; None: the server's first.
            expect_fingerprint: that of the vectors that you have; another one raises FingerprintChanged.
            ca_file: certificates to trust, PEM; None: the system's.
            timeout: seconds for one try: to connect, to send the request and to read the whole answer.
            retry_seconds: how long one request is tried again; 0: never.
            in_flight: requests at a time.
            max_answer_bytes: of one answer; a vector has at most 1,000,000 of them.

        Raises:
            BadAddress: the address, the key or `ca_file` cannot be used, or the key would be sent over http to
                another machine.
        """
        self._connection = Connection(
            url,
            key,
            ca_file=ca_file,
            seconds=timeout,
            retry_seconds=retry_seconds,
            in_flight=in_flight,
            max_answer_bytes=max_answer_bytes,
        )
        self._model, self._expected = model, expect_fingerprint
        self._pinned: ServedBy | None = None
        self.in_flight = in_flight

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        """Close the client and its connections. It cannot be used afterwards."""
        await self._connection.__aexit__()

    async def served_by(self) -> ServedBy:
        if self._pinned:
            return self._pinned
        models = (await self._connection.ask("GET", "/v1/models", ModelList)).data
        chosen = next((model for model in models if self._model in (None, model.id)), None)
        if chosen is None:
            has = ", ".join(model.id for model in models)
            raise Refused(f"the server has no model {self._model}. It has {has}.", "unknown_model")
        if not chosen.ready:
            raise Unreachable(f"the server cannot use {chosen.id} yet. Try again when it is ready.")
        fingerprint = self._check(chosen.fingerprint)
        return ServedBy(chosen.id, fingerprint, chosen.embed_dim, chosen.logit_scale, chosen.logit_bias)

    async def pin(self) -> ServedBy:
        self._pinned = await self.served_by()
        self._model, self._expected = self._pinned.model, self._pinned.fingerprint
        return self._pinned

    async def label_sets(self) -> list[str]:
        model = (await self.served_by()).model
        answer = await self._connection.ask("GET", "/label-sets", LabelSetList)
        return [label_set.name for label_set in answer.label_sets if label_set.model == model]

    async def embed_image(self, image: bytes) -> Embedded:
        headers = {"Content-Type": "application/octet-stream"}
        params = self._fields(encoding_format="base64")
        content = {"params": params, "content": image, "headers": headers, "most_bytes": _VECTOR_BYTES}
        return self._vector(await self._of_item(OF_IMAGE, "/embed", Embeddings, content))

    async def embed_text(self, text: str, *, truncate: bool) -> Embedded:
        fields = self._fields(texts=[text], truncate=truncate, encoding_format="base64")
        content = {"json": fields, "most_bytes": _VECTOR_BYTES}
        return self._vector(await self._of_item(OF_TEXT, "/embed", Embeddings, content))

    async def classify_image(self, image: bytes, request: ClassifyRequest) -> Labelled:
        # A form repeats the name of a list for each of its values, and so has no images but this one.
        content = {"data": self._fields(**vars(request)), "files": {"image": ("image", image)}}
        answer = await self._of_item(OF_IMAGE, "/classify", Classification, content)
        labels = self._only(answer, ImageLabels).labels
        return Labelled(labels, self._check(answer.fingerprint), answer.warnings)

    def _fields(self, **fields: Any) -> dict[str, Any]:
        """The fields that have a value, with the model and the fingerprint, which every request names."""
        fields |= {"model": self._model, "expect_fingerprint": self._expected}
        return {name: value for name, value in fields.items() if value is not None}

    async def _of_item(self, item_codes: frozenset[str], path: str, shape: type[S], content: Any) -> S:
        """Ask about one item. `item_codes`: see `of_item`."""
        try:
            return await self._connection.ask("POST", path, shape, **content)
        except Refused as error:
            raise of_item(error, item_codes) from None

    def _only(self, answer: Any, kind: type[S]) -> S:
        """The result of the only item."""
        (result, *others) = answer.results or [None]
        if others or not isinstance(result, kind):
            url = self._connection.url
            raise OddAnswer(f"{url} is not a clipserve server: it answers about other items.")
        return result

    def _check(self, fingerprint: str) -> str:
        """Also of what is answered: a server may know nothing of what it was asked for."""
        if self._expected not in (None, "", fingerprint):
            detail = f"the server makes vectors of {fingerprint}, and those of {self._expected} are expected."
            raise refusal(WrongFingerprint.code, detail)
        return fingerprint

    def _vector(self, answer: Embeddings) -> Embedded:
        self._check(answer.fingerprint)
        content = self._only(answer, ImageVector).embedding
        with suppress(ValueError, TypeError):
            vector = np.frombuffer(base64.b64decode(content, validate=True), "<f4")  # type: ignore[arg-type]
            is_unit = abs(np.linalg.norm(vector.astype(np.float64)) - 1) < _OFF_UNIT  # false for NaN
            if is_unit and len(vector) == (self._pinned.embed_dim if self._pinned else len(vector)):
                return Embedded(vector, answer.fingerprint)
        raise OddAnswer(f"{self._connection.url} answers something else than a vector of {answer.model}.")


def _as_in(
    method: Callable[Concatenate[AsyncClient, P], None],
) -> Callable[[Callable[..., None]], Callable[Concatenate[Any, P], None]]:
    """Decorate a method with the arguments and the docstring of another."""
    return functools.wraps(method)


class Client(Blocking):
    """CLIP on a running server: `AsyncClient` for programs without an event loop.

    A client reuses its connections: make one and keep it. Threads may share it.
    """

    @_as_in(AsyncClient.__init__)
    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(AsyncClient(*args, **kwargs))
