"""The size of encoder calls, and the number at a time, by device."""

from __future__ import annotations

from dataclasses import dataclass, replace


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
        chosen = replace(
            self, max_batch_images=images or self.max_batch_images, threads=threads or self.threads
        )
        if not texts:
            return chosen
        tokens = self.max_batch_tokens * max(texts, self.max_batch_texts) // self.max_batch_texts
        return replace(chosen, max_batch_texts=texts, max_batch_tokens=tokens)


# A GPU needs many rows in a call, and a next call ready; a CPU gains little from more than a few rows, and others
# wait longer. The CPU threads of a call on a GPU compute nothing; the second call's data is copied meanwhile.
ON_CPU = Calls(1, max_batch_images=16, max_batch_texts=32, max_batch_tokens=96, threads=0)
ON_GPU = Calls(2, max_batch_images=64, max_batch_texts=256, max_batch_tokens=4_096, threads=1)
