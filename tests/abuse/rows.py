"""All attacks."""

from __future__ import annotations

from itertools import chain

from tests.abuse import image_rows, request_rows, rpc_rows, transport_rows
from tests.abuse.attack import Attack

_MODULES = (image_rows, request_rows, transport_rows, rpc_rows)
ATTACKS: tuple[Attack, ...] = tuple(chain.from_iterable(module.attacks() for module in _MODULES))
