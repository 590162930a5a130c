"""Processes that this one inherits and never started: in a container it is the first, and gets all orphans."""

from __future__ import annotations

import os
from collections.abc import Collection
from contextlib import suppress


def reap_orphans(own: Collection[int]) -> None:
    """Let go of those that have ended, such as the decoders of a worker that was killed.

    `own`: the processes that somebody else waits for. One of these that has just ended holds up the others, until
    the next time.
    """
    with suppress(ChildProcessError):  # there is none
        while ended := os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT):
            if ended.si_pid in own:
                return
            os.waitpid(ended.si_pid, 0)
