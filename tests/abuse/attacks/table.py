"""All attacks, by kind."""

from __future__ import annotations

import os
from itertools import chain

from tests.abuse.attack import Attack
from tests.abuse.attacks import (
    bodies,
    caches,
    departures,
    images,
    metadata,
    one_address,
    revoked_keys,
    rpc,
    small_calls,
    syntax,
    texts,
    transport,
    urls,
    use_cases,
)

_MODULES = (
    images,
    metadata,
    texts,
    bodies,
    syntax,
    use_cases,
    transport,
    caches,
    rpc,
    small_calls,
    departures,
    revoked_keys,
    one_address,
    urls,
)
ATTACKS: tuple[Attack, ...] = tuple(chain.from_iterable(module.attacks() for module in _MODULES))
BY_ID = {attack.id: attack for attack in ATTACKS}

# The worst of each kind.
WORST = (
    "WebP bombs: lossless, one colour, 49 MP",
    "WebP bombs: alpha of 49 MP, 32 in a request",
    "PNG bombs: interlaced RGBA of 16 bits, 50 MP",
    "JPEG bombs: 10 scans of 49 MP",
    "formats refused: a megabyte of zeros",
    "metadata floods: 120 APP1 of Exif of 64 KB",
    "Exif: 16,000 values in each of 5,000 fields",
    "colour profiles: WebP, 7.9 MB",
    "aspect ratios: 164 x 16,384",
    "texts, 100 in a request: mojibake",
    "texts, 100 in a request: one word of two letters",
    "labels and templates: 1,000 labels x imagenet-80",
    "JSON: 20 MB of numbers",
    "JSON: a megabyte of numbers",
    "base64: 20 MB",
    "forms: 300,000 parts",
    "forms: 19 MB of almost boundaries",
    "syntax of HTTP: Targets: a query of 20,000 labels",
    "transport floods: 100 MB of headers",
    "transport floods: chunks of one byte",
    "slow clients: 19.9 MB of which the last byte is withheld",
    "pipelining, departures: 10,000 GET",
    "pipelining, departures: 10,000 GET of the document, unread",
    "pipelining, departures: 100 bombs",
    "pipelining, departures: 32 bombs, then reset",
    "pipelining, departures: 100 costly ones, then reset",
    "caches: 2,000 texts",
    "gRPC: 10,000 calls begun and cancelled",
    "gRPC: 100 answers unread",
    "gRPC: 100 costly calls, then reset",
    "departures: 256 texts, then a reset",
    "health and reflection: 100 watches that withhold their message",
    "health and reflection: 100 checks of 60 KB each",
    "similarity: bombs on both sides",
    "label sets: 990 labels x 101 templates",
    "one address: 540 connections in loops: tokenize",
    "one address: 540 connections in loops: embed",
    "images by URL: 32 silent ones",
    "images by URL: 32 in chunks of two bytes",
)
# What the slow tests play, and where each takes seconds; with ABUSE_ALL=1 more, in most of an hour.
_ALL = bool(os.environ.get("ABUSE_ALL"))
CHOSEN = ATTACKS if _ALL else tuple(BY_ID[name] for name in WORST)
FEW = WORST if _ALL else WORST[::3]
