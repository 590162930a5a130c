"""The size of encoder calls, and the number at a time, by device."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from clipserve.clip.artifact import IMAGE_GRAPH, TEXT_GRAPH
from clipserve.clip.manifest import GPU_TEXT_BUCKETS, ModelManifest


@dataclass(frozen=True)
class Calls:
    """Rows of a call, and calls at a time (`workers`).

    `max_batch_tokens`, padding included: more gain a little for texts, and images wait longer. `threads`: of a call
    on the CPU; 0: the cores of the quota.
    """

    workers: int
    max_batch_images: int
    max_batch_texts: int
    max_batch_tokens: int
    threads: int

    def with_chosen(self, images: int | None, texts: int | None, threads: int) -> Calls:
        """With the sizes that an operator has set. More texts raise the limit of tokens, too."""
        images, texts = images or self.max_batch_images, texts or self.max_batch_texts
        tokens = self.max_batch_tokens * max(texts, self.max_batch_texts) // self.max_batch_texts
        return Calls(self.workers, images, texts, tokens, threads or self.threads)

    def each_size(self, manifest: ModelManifest) -> Iterator[tuple[str, dict[str, Any]]]:
        """A call of each size that a GPU will be given: the largest, and powers of two below; the largest first."""
        size = manifest.image.size
        for rows in _sizes(self.max_batch_images):
            yield IMAGE_GRAPH, {"pixels": np.zeros((rows, size, size, 3), np.uint8)}
        for length in manifest.text.lengths_of(GPU_TEXT_BUCKETS):
            for rows in _sizes(min(self.max_batch_texts, self.max_batch_tokens // length)):
                ids, lengths = np.ones((rows, length), np.int32), np.ones(rows, np.int32)
                yield TEXT_GRAPH, {"token_ids": ids, "lengths": lengths}


def _sizes(most: int) -> list[int]:
    return [most, *(2**power for power in reversed(range(most.bit_length())) if 2**power < most)]


# A GPU needs many rows in a call, and a next call ready; a CPU gains little from more than a few rows, and others
# wait longer. The CPU threads of a call on a GPU compute nothing; the second call's data is copied meanwhile.
ON_CPU = Calls(1, max_batch_images=16, max_batch_texts=32, max_batch_tokens=96, threads=0)
ON_GPU = Calls(2, max_batch_images=64, max_batch_texts=256, max_batch_tokens=4_096, threads=1)
