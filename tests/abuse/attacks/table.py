"""All attacks, by kind."""

from __future__ import annotations

from itertools import chain

from tests.abuse.attack import Attack
from tests.abuse.attacks import bodies, caches, images, metadata, syntax, texts, transport

_MODULES = (images, metadata, texts, bodies, syntax, transport, caches)
ATTACKS: tuple[Attack, ...] = tuple(chain.from_iterable(module.attacks() for module in _MODULES))
