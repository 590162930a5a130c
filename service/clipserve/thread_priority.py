"""Sets the scheduling of threads that share a core: the event loop first, then threads that compute.

Without it a refusal waits until encoders and decoders have used up their time slices.

How it works. Since Linux 6.12 a thread may choose the length of its slices (sched_setattr(2)). A thread that wakes
preempts one with longer slices at once, unless it has had more than its share (EEVDF). So the event loop has the
shortest slices, and computing threads keep their share of the cores beside other programs. On an older Linux,
computing threads have a higher nice value, which also gives other programs of the same session priority. Other
systems have no priorities of threads.
"""

from __future__ import annotations

import ctypes
import os
import platform
import sys
import threading

_TURN = 100_000  # nanoseconds; the kernel's minimum
# Added to a thread's nice value: a thread of 0 gets three times the time of one of 5. Values are -20 to 19, lower
# ones first.
_COMPUTING = 5
_NUMBERS = {"x86_64": (314, 315), "aarch64": (274, 275)}  # of sched_setattr and sched_getattr


class _Attributes(ctypes.Structure):
    """The first version of struct sched_attr of <linux/sched/types.h>."""

    _fields_ = (
        ("size", ctypes.c_uint32),
        ("policy", ctypes.c_uint32),
        ("flags", ctypes.c_uint64),
        ("nice", ctypes.c_int32),
        ("priority", ctypes.c_uint32),
        ("runtime", ctypes.c_uint64),  # the length of a slice; 0 on older kernels
        ("deadline", ctypes.c_uint64),
        ("period", ctypes.c_uint64),
    )


def come_first() -> None:
    """Give this thread, an event loop's, the shortest slices. Threads and processes that it starts inherit them."""
    _take_turns(_TURN)


def yield_to_event_loop() -> None:
    """Let the event loop preempt this thread, which computes. Threads that it starts inherit that."""
    if sys.platform != "linux" or _take_turns(0):  # 0: of the usual length
        return
    thread = threading.get_native_id()
    # Every process may raise its nice value; lowering it needs a privilege.
    nice = os.getpriority(os.PRIO_PROCESS, thread)
    os.setpriority(os.PRIO_PROCESS, thread, min(nice + _COMPUTING, 19))


def _take_turns(nanoseconds: int) -> bool:
    """Set the length of this thread's slices; return whether it is set."""
    numbers = _NUMBERS.get(platform.machine())
    if sys.platform != "linux" or numbers is None:
        return False
    set_number, get_number = numbers
    call = ctypes.CDLL(None).syscall
    attributes = _Attributes()
    size = ctypes.sizeof(attributes)
    if call(get_number, 0, ctypes.byref(attributes), size, 0) or not attributes.runtime:
        return False
    attributes.runtime = nanoseconds
    return bool(call(set_number, 0, ctypes.byref(attributes), 0) == 0)
