"""What a supervisor and a worker say to each other, over a pair of sockets that nobody else has.

First the supervisor sends the settings. Then it sends commands, a line each: `metrics`, `drain`, `end`. The worker
sends lines of JSON: every quarter of a second its pulse, `{"ready": true, "blocked": 0.0}`; asked for its metrics
`{"page": "..."}`; and if it cannot start `{"fault": "..."}`. The end of the channel is the end of the other side.
"""

from __future__ import annotations

import pickle
import socket
import struct
from typing import Any, Literal

import orjson

from clipserve.clip.decoder import receive
from clipserve.settings import Settings

_SIZE = struct.Struct("!I")
Command = Literal["metrics", "drain", "end"]
MAX_LINE = 16_000_000  # bytes


def settings_message(settings: Settings) -> bytes:
    """As they are, secrets too, which no variable or argument of the worker then has to hold."""
    content = pickle.dumps(settings)
    return _SIZE.pack(len(content)) + content


def receive_settings(channel: socket.socket) -> Settings:
    """Raises EOFError: the supervisor has ended."""
    (size,) = _SIZE.unpack(receive(channel, _SIZE.size))
    settings = pickle.loads(receive(channel, size))  # noqa: S301 - from the process that started this one
    assert isinstance(settings, Settings)
    return settings


def line(**fields: Any) -> bytes:
    """What a worker says."""
    return orjson.dumps(fields) + b"\n"
