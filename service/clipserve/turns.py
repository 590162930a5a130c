"""Which of the threads that share a core runs first: the event loop, then those that compute.

Without it a refusal waits until encoders and decoders have used up their turns.

How it works. Since Linux 6.12 a thread may choose the length of its turns (sched_setattr(2)), and one that wakes
takes the core of a thread with longer ones at once, as long as it has had no more than its share (EEVDF). So the
event loop has the shortest turns that there are, and what computes keeps its share of the cores beside other
programs. On an older Linux what computes has a higher nice value, which lets other programs of the same session go
first too. No other system has priorities of threads.
"""

from __future__ import annotations

import ctypes
import os
import platform
import sys
import threading

_TURN = 100_000  # nanoseconds; the kernel takes none that is shorter
# Added to a thread's nice value: a thread of 0 gets three times the time of one of 5. Values go from -20 to 19, and
# the lower comes first.
_COMPUTING = 5
_NUMBERS = {"x86_64": (314, 315), "aarch64": (274, 275)}  # of sched_setattr and sched_getattr


class _Attributes(ctypes.Structure):
    """struct sched_attr of <linux/sched/types.h>, as its first version has it."""

    _fields_ = (
        ("size", ctypes.c_uint32),
        ("policy", ctypes.c_uint32),
        ("flags", ctypes.c_uint64),
        ("nice", ctypes.c_int32),
        ("priority", ctypes.c_uint32),
        ("runtime", ctypes.c_uint64),  # the length of a turn; 0 where the kernel knows none
        ("deadline", ctypes.c_uint64),
        ("period", ctypes.c_uint64),
    )


def come_first() -> None:
    """Called in the thread of an event loop. Threads and processes that it starts inherit it."""
    _take_turns(_TURN)


def yield_to_event_loop() -> None:
    """Called in a thread that computes. Threads that it starts, onnxruntime's among them, inherit it."""
    if sys.platform != "linux" or _take_turns(0):  # 0: of the usual length
        return
    thread = threading.get_native_id()
    # Every process may raise the nice value of its own; to lower it needs a privilege.
    nice = os.getpriority(os.PRIO_PROCESS, thread)
    os.setpriority(os.PRIO_PROCESS, thread, min(nice + _COMPUTING, 19))


def _take_turns(nanoseconds: int) -> bool:
    """Whether this thread has turns of that length now."""
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
