"""Memory that this process shares with one that it starts."""

from __future__ import annotations

import contextlib
import os
import sys
import tempfile
from typing import IO


def shared_file(size: int) -> IO[bytes]:
    """A file of zeros without a name. Where the system can do that it is in memory and keeps its size: otherwise a
    process that was taken over could cut it short, and the service would end by SIGBUS when it reads.

    Raises:
        OSError: there is no descriptor, or no memory, left.
    """
    with contextlib.ExitStack() as opened:
        if sys.platform != "linux":
            file: IO[bytes] = opened.enter_context(tempfile.TemporaryFile(buffering=0))
            file.truncate(size)
        else:
            import fcntl  # not on every system

            descriptor = os.memfd_create("decoder", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
            file = opened.enter_context(os.fdopen(descriptor, "r+b", buffering=0))
            file.truncate(size)
            fcntl.fcntl(file, fcntl.F_ADD_SEALS, fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_SEAL)
        opened.pop_all()
    return file
