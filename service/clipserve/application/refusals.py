"""Paces the refusals of one caller while others ask too.

A refusal costs little, but a client that asks again at once, on hundreds of connections, turns it into all that
the event loop does. So a caller gets only so many refusals a second, and the rest a moment later. A caller alone
takes time from nobody, and gets each at once.
"""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable

_PRESENT_SECONDS = 10.0  # after its last request a caller is not expected any more
_A_SECOND, _AT_ONCE = 100, 20  # refusals of one caller
_MAX_SECONDS = 2.0


class Refusals:
    """See the module. `clock`: seconds."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._asked: OrderedDict[str, float] = OrderedDict()  # caller -> its last request; the earliest first
        self._due: dict[str, float] = {}  # caller -> when its next refusal may be sent, at the rate

    @property
    def present(self) -> int:
        """The callers of the last seconds."""
        return len(self._asked)

    def asked(self, caller: str) -> None:
        """A request of this caller has come."""
        asked = self._asked
        asked[caller] = now = self._clock()
        asked.move_to_end(caller)
        while now - asked[gone := next(iter(asked))] > _PRESENT_SECONDS:
            del asked[gone]
            self._due.pop(gone, None)

    def seconds(self, caller: str) -> float:
        """How long the refusal of a request of this caller is to be held back; counts it."""
        self.asked(caller)
        if self.present < 2:
            return 0.0
        now = self._asked[caller]
        due = max(now - _AT_ONCE / _A_SECOND, self._due.get(caller, 0.0))
        self._due[caller] = min(due + 1 / _A_SECOND, now + _MAX_SECONDS)
        return max(0.0, due - now)
