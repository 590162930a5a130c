"""Dynamic batching: rows of many callers become one call of the backend.

How it works. A caller submits rows and waits. `DynamicBatcher` keeps the waiting rows in a `BatchQueue`; its
serving tasks, one for each call that the backend can run at a time, take a batch whenever they are free: nobody
waits for a batch to fill while the engine is idle, and batches form by themselves while it is busy. A batch
holds rows of one shape, dealt round robin from the waiting callers, so that a caller with a thousand rows does
not keep a caller with one row waiting.

The laws, each of which holds under cancellation too:

  (a) Every submitted row gets exactly one answer: its vector, or the error of its caller.
  (b) A failed batch fails only its own rows. It is retried once, row by row, so that one poisoned row does not
      fail its neighbours. There is nothing to retry when the backend cannot be reached, is overloaded, or has
      let the deadline pass: no row is to blame.
  (c) A caller who leaves changes nothing for others. Rows of his not yet taken are not computed, and a call
      that computes for nobody any more is cancelled: a Triton that hangs is let go; a thread computes to its end.
  (d) The number of vectors must be the number of rows. Anything else is a failed batch.
  (e) A serving task ends only when it is cancelled. Whatever a backend raises, it takes the next batch.
"""

from __future__ import annotations

import asyncio
import contextvars
import time
from collections.abc import Callable, Coroutine
from typing import Any

import numpy as np
import numpy.typing as npt

from clipserve.concurrency import kept_running
from clipserve.engine.backend import Embeddings
from clipserve.engine.batch_queue import Arrays, Batch, BatchPolicy, BatchQueue, Job
from clipserve.errors import BackendFailed, BackendUnavailable, ClipError
from clipserve.telemetry.log import logger
from clipserve.telemetry.metrics import Metrics
from clipserve.telemetry.request import current, of_batch, task_context
from clipserve.telemetry.tracing import current_span, fail, span

Run = Callable[..., Coroutine[Any, Any, Embeddings]]


class _Submission(Job):
    """A job whose caller waits for `answer`: the vectors of its rows, float32 [n, D]."""

    def __init__(self, arrays: Arrays, answer: asyncio.Future[Embeddings]) -> None:
        super().__init__(arrays, time.monotonic(), answer.done, current())
        self.span = current_span()  # what its batch is part of
        self.answer = answer
        self._vectors: Embeddings | None = None
        self._missing = self.rows

    def deliver(self, row: int, vector: npt.NDArray[np.float32]) -> None:
        if self._vectors is None:
            self._vectors = np.empty((self.rows, len(vector)), np.float32)
        self._vectors[row] = vector
        self._missing -= 1
        if not self._missing and not self.answer.done():
            self.answer.set_result(self._vectors)

    def fail(self, error: ClipError) -> None:
        if not self.answer.done():
            self.answer.set_exception(error)


_Batch = Batch[_Submission]


class DynamicBatcher:
    """Runs `run` on batches, between `start` and `aclose`."""

    def __init__(self, tower: str, run: Run, policy: BatchPolicy, metrics: Metrics) -> None:
        self._tower = tower
        self._run = run
        self._policy = policy
        self._metrics = metrics
        self._queue = BatchQueue[_Submission](policy)
        self._arrived = asyncio.Event()
        self._calls: dict[_Batch, asyncio.Future[Embeddings]] = {}
        self._tasks: list[asyncio.Task[None]] = []
        self._most_calls = 0
        self._context = contextvars.Context()  # of no request

    def start(self) -> None:
        """Begin to serve; the backend has started."""
        self._context = contextvars.copy_context()
        self._follow_servers()

    async def aclose(self) -> None:
        """Stop serving; what still waits fails with `BackendUnavailable`."""
        tasks, self._tasks = self._tasks, []
        self._metrics.workers.labels(self._tower).dec(self._most_calls)
        self._most_calls = 0
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        for job in self._queue.drain():
            job.fail(_closed())

    async def submit(self, *arrays: npt.NDArray[Any]) -> Embeddings:
        """Encode rows. A caller who is cancelled takes his rows out again.

        Returns:
            float32 [n, D], for the n rows of each array.

        Raises:
            BackendFailed: the backend failed on one of the rows, twice.
            BackendUnavailable: it cannot be reached, or the batcher is closed.
            Overloaded, DeadlineExceeded: where the backend has a queue of its own.
        """
        if not self._tasks:
            raise _closed()
        self._follow_servers()
        job = _Submission(arrays, asyncio.get_running_loop().create_future())
        self._queue.put(job)
        self._arrived.set()
        try:
            return await job.answer
        finally:
            if job.answer.cancelled():
                self._let_go()

    def _follow_servers(self) -> None:
        """As many calls at a time as the servers known now take; tasks that are too many for them wait."""
        policy = self._policy
        most = (policy.calls_now and policy.calls_now()) or policy.concurrency
        if most == self._most_calls:
            return
        self._metrics.workers.labels(self._tower).inc(most - self._most_calls)
        self._most_calls = most
        while len(self._tasks) < most:
            task = self._context.run(kept_running, f"batches_{self._tower}", self._serve)
            self._tasks.append(task)

    def _let_go(self) -> None:
        for batch, call in self._calls.items():
            if batch.abandoned:
                call.cancel()

    async def _serve(self) -> None:
        while True:
            batch = await self._next_batch()
            try:
                await self._answer(batch)
            except BaseException as error:
                ended = isinstance(error, asyncio.CancelledError)
                for job, _ in batch.rows:
                    job.fail(_closed() if ended else BackendFailed(f"the {self._tower} encoder failed."))
                raise

    async def _next_batch(self) -> _Batch:
        while True:
            if len(self._calls) < self._most_calls and (batch := self._queue.take()):
                return batch
            self._arrived.clear()  # whoever ends a call looks again
            await self._arrived.wait()

    async def _answer(self, batch: _Batch) -> None:
        now = time.monotonic()
        for job in batch.jobs:
            self._metrics.queue_seconds(self._tower).observe(now - job.arrived)
        error = await self._try(batch)
        if error is None:
            return
        alone = batch.row_by_row()
        if len(alone) == 1 or not isinstance(error, BackendFailed):
            for job, _ in batch.rows:
                job.fail(error)
            return
        for single in alone:
            if not single.abandoned and (error := await self._try(single)) is not None:
                single.rows[0][0].fail(error)

    async def _try(self, batch: _Batch) -> ClipError | None:
        """Make one call and deliver its vectors.

        Returns:
            why there are none; None if they were delivered, or if nobody waits for them any more.
        """
        spans = [job.span for job in batch.jobs if job.span]
        with span("batch", spans, tower=self._tower, rows=len(batch.rows)) as made:
            error = await self._call(batch)
            if error and made:
                fail(made, error)
            return error

    async def _call(self, batch: _Batch) -> ClipError | None:
        started = time.monotonic()
        # The call works for all requests of the batch: its log lines have their ids.
        context = task_context(of_batch([job.context for job in batch.jobs]))
        arrays = batch.arrays() if self._policy.stack else batch.apart()
        call = asyncio.create_task(self._run(*arrays), context=context)
        del arrays
        self._calls[batch] = call
        try:
            vectors = await call
        except asyncio.CancelledError:
            task = asyncio.current_task()
            if task is not None and task.cancelling():
                raise
            return None if batch.abandoned else BackendFailed(f"the {self._tower} encoder gave up.")
        except ClipError as error:
            return error.with_traceback(None)  # its frames hold the batch, whose callers will hold the error
        except Exception:  # whatever a backend raises: those whose rows these are must be answered
            context.run(logger.exception, "backend_raised", tower=self._tower, rows=len(batch.rows))
            return BackendFailed(f"the {self._tower} encoder failed.")
        finally:
            del self._calls[batch], call
        if len(vectors) != len(batch.rows):
            return BackendFailed(
                f"the {self._tower} encoder gave {len(vectors)} vectors for {len(batch.rows)} rows."
            )
        seconds = time.monotonic() - started
        self._metrics.batch(self._tower, len(batch.rows), seconds)
        self._queue.took(len(batch.rows), seconds)
        for (job, row), vector in zip(batch.rows, vectors, strict=True):
            job.deliver(row, vector)
        return None


def _closed() -> BackendUnavailable:
    return BackendUnavailable("the service is shutting down.")
