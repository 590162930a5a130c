"""One hostile client beside four good ones: they lose next to nothing, and wait little longer."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from tests.abuse.attack import Attack
from tests.abuse.attacks.table import ATTACKS
from tests.abuse.probe import Prober
from tests.abuse.scenario import Company, good_clients, hostile_client, seen_for
from tests.abuse.victim import Victim

pytestmark = pytest.mark.abuse

SECONDS = float(os.environ.get("ABUSE_SECONDS", "10"))
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
    "polyglots, aspect ratios: 164 x 16,384",
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
)
BY_ID = {attack.id: attack for attack in ATTACKS}


@pytest.fixture(scope="module")
def good(victim: Victim) -> Iterator[list[Prober]]:
    with good_clients(victim.address, 4) as clients:
        yield clients


@pytest.fixture(scope="module")
def usual(good: list[Prober]) -> Company:
    company = seen_for(good, 2 * SECONDS)
    assert company.lost == 0
    return company


@pytest.mark.parametrize("name", WORST)
def test_good_clients_beside_a_hostile_one(
    victim: Victim, good: list[Prober], usual: Company, name: str
) -> None:
    attack: Attack = BY_ID[name]
    with hostile_client(victim.address, attack):
        company = seen_for(good, SECONDS)
    assert victim.process.popen.poll() is None
    assert company.lost <= 0.01, company.statuses
    assert company.p99 < 5 * usual.p99, f"{company.p99:.2f} s instead of {usual.p99:.2f} s"


def test_every_kind_of_attack_is_among_them() -> None:
    kinds = {BY_ID[name].kind for name in WORST}
    assert {attack.kind for attack in ATTACKS} - kinds <= {"images broken", "texts"}
