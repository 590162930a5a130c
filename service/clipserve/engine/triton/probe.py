"""The probe of a server that was set aside: one row for each encoder, whose vector is known.

The rows are the first that a server has answered: those of the service's self-test, which compares their vectors
with the artifact's before it serves.
"""

from __future__ import annotations

from dataclasses import replace

import grpc
import numpy as np

from clipserve.clip.reference import MIN_COSINE, lowest_cosine
from clipserve.engine.backend import Embeddings
from clipserve.engine.triton.connection import Channel
from clipserve.engine.triton.contract import EMBEDDING, Tower
from clipserve.engine.triton.expected import Expected
from clipserve.engine.triton.failures import TryElsewhere, translated
from clipserve.engine.triton.message import TritonCall
from clipserve.errors import BackendUnavailable, Overloaded

_SECONDS = 10.0  # for an answer: a busy server may have a queue


class Sick(Exception):
    """The server computes nothing."""


class Probe:
    """The rows, shared by all servers. Before the first answers there are none, and every server passes."""

    def __init__(self, expected: Expected) -> None:
        self._expected = expected
        self._known: dict[Tower, tuple[TritonCall, Embeddings]] = {}  # float32 [1, D]

    def learn(self, call: TritonCall, embeddings: Embeddings) -> None:
        """Keep the first row of the first answer of each encoder. `embeddings`: float32 [N, D]."""
        if call.tower not in self._known:
            row = replace(call, arrays=[np.array(array[:1]) for array in call.arrays])
            self._known[call.tower] = row, embeddings[:1].copy()

    async def check(self, server: Channel) -> bool:
        """Have the server compute the rows. A full queue is no fault of the server.

        Returns:
            whether it passes; False if it is leaving, or a proxy does not reach it now.

        Raises:
            Sick: it fails, or does not answer in time.
            BackendUnavailable: it gives another vector.
        """
        for tower, (call, known) in list(self._known.items()):
            if tower == "text":  # a server that came later may take other lengths
                token_ids, lengths = call.arrays
                call = replace(call, arrays=[self._expected.padded(np.asarray(token_ids)), lengths])
            try:
                answer = await server.infer(call.message(_SECONDS), _SECONDS)
            except grpc.aio.AioRpcError as error:
                failure = translated(error)
                if isinstance(failure, Overloaded):
                    continue
                if isinstance(failure, TryElsewhere) and failure.reason != "internal":
                    return False
                raise Sick(f"{tower}: {error.details()}") from None
            vector = np.asarray(answer.as_numpy(EMBEDDING), np.float32)
            cosine = lowest_cosine(vector, known) if vector.shape == known.shape else np.nan
            if not cosine >= MIN_COSINE[self._expected.served_precision]:  # also true of NaN
                raise BackendUnavailable(f"{tower}: a vector is at cosine {cosine:.6f} to the one before")
        return True
