"""Run in a network namespace: a service, name servers and listeners, and who was reached. Prints JSON.

`python -m tests.external.attacks.namespace`, in a namespace that has `PUBLIC` and all of `INSIDE` as its own
addresses, and whose resolver asks 127.0.0.53.
"""

from __future__ import annotations

import asyncio
import json
import struct
from collections import Counter
from functools import partial
from ipaddress import ip_address
from itertools import cycle
from typing import Any

import httpx

from tests.fetching.test_attacks import ATTACKS
from tests.process import LIGHT, PATIENT, Process
from tests.support import png

PUBLIC = "93.184.216.34"
INSIDE = ["127.0.0.1", "127.9.9.9", "10.9.0.1", "172.16.0.1", "192.168.1.1", "169.254.169.254", "100.64.0.1"]
INSIDE += ["::1", "fd00::1"]
# No machine has these, or they lead to 127.0.0.1.
OTHERS = ("0.0.0.0", "224.0.0.1", "::ffff:127.0.0.1", "64:ff9b::7f00:1", "2002:7f00:1::")
PORT = 9090
# By name the answers of the name server, one for each question in turns: addresses. None: it is silent.
ANSWERS: dict[str, list[list[str] | None]] = {"a.test": [[PUBLIC]], "silent.test": [None]}
ANSWERS |= {f"x{number}.test": [[address]] for number, address in enumerate([*INSIDE, *OTHERS])}
ANSWERS |= {f"with{number}.test": [[PUBLIC, address]] for number, address in enumerate(INSIDE)}
ANSWERS |= {f"turns{number}.test": [[PUBLIC], [address]] for number, address in enumerate(INSIDE)}
HOSTS = {f"http://{name}:{PORT}" for name in (*ANSWERS, "b.test", "rebound.test", "mixed.test")}
REDIRECTS = [f"http://{f'[{host}]' if ':' in host else host}:{PORT}/" for host in (*INSIDE, *ANSWERS)]
REDIRECTS = [each for each in REDIRECTS if not any(name in each for name in ("a.test", "turns", "with"))]
SIZES = {1: 4, 28: 16}  # bytes of an address, by the kind of a question: A, AAAA


class NameServer(asyncio.DatagramProtocol):
    """Answers otherwise each time that it is asked, and says that nobody may keep the answer."""

    def __init__(self) -> None:
        self._turns = {(name, kind): cycle(answers) for name, answers in ANSWERS.items() for kind in SIZES}

    def connection_made(self, transport: Any) -> None:
        self._transport: asyncio.DatagramTransport = transport

    def datagram_received(self, data: bytes, address: tuple[str, int]) -> None:
        labels, at = [], 12
        while length := data[at]:
            labels.append(data[at + 1 : at + 1 + length].decode("latin-1"))
            at += 1 + length
        (kind,) = struct.unpack_from(">H", data, at + 1)
        turns = self._turns.get((".".join(labels).lower(), kind))
        if (found := next(turns) if turns else []) is None:
            return
        packed = [each.packed for each in map(ip_address, found) if len(each.packed) == SIZES[kind]]
        flags = 0x8580 if turns else 0x8583  # no error, or: there is no such name
        head = data[:2] + struct.pack(">HHHHH", flags, 1, len(packed), 0, 0)
        records = [struct.pack(">HHHIH", 0xC00C, kind, 1, 0, len(each)) + each for each in packed]
        self._transport.sendto(head + data[12 : at + 5] + b"".join(records), address)


async def serve(
    where: str, reached: Counter[str], reader: asyncio.StreamReader, writer: asyncio.StreamWriter
) -> None:
    """An image, or by the path a redirect."""
    reached[where] += 1
    path = (await reader.readuntil(b"\r\n\r\n")).split(b" ")[1].decode()
    if path.startswith("/to/"):
        place = REDIRECTS[int(path.removeprefix("/to/"))]
        writer.write(f"HTTP/1.1 302 Found\r\nLocation: {place}\r\nContent-Length: 0\r\n\r\n".encode())
    else:
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: image/png\r\n\r\n" + png())
    writer.close()


async def attack(url: str) -> dict[str, object]:
    """How many were answered with which status, and how often each address was reached."""
    turns = [f"http://{name}:{PORT}/" for name in ANSWERS if name.startswith("turns")]
    refused = [f"http://{name}:{PORT}/" for name in ANSWERS if name.startswith("x")]
    mixed = [f"http://{name}:{PORT}/" for name in ANSWERS if name.startswith("with")]
    refused += [f"http://a.test:{PORT}/to/{number}" for number in range(len(REDIRECTS))]
    refused += [each.replace("PORT", str(PORT)) for each in ATTACKS]
    reached = Counter[str]()
    await asyncio.get_running_loop().create_datagram_endpoint(NameServer, ("127.0.0.53", 53))
    for where in (PUBLIC, *INSIDE):
        await asyncio.start_server(partial(serve, where, reached), where, PORT)
    async with httpx.AsyncClient(base_url=url, timeout=60, verify=False) as client:

        async def statuses(places: list[str]) -> Counter[int]:
            answers = [await client.post("/embed", json={"images": [place]}) for place in places]
            return Counter(answer.status_code for answer in answers)

        silent = asyncio.create_task(statuses([f"http://silent.test:{PORT}/"]))  # until the resolver gives up
        good = await statuses([f"http://a.test:{PORT}/"])
        asked = {"good": good, "refused": await statuses(refused), "in turns": await statuses(turns * 4)}
        asked["mixed"] = await statuses(mixed)
        asked["refused"] += await silent
    return asked | {"reached": reached}


def main() -> None:
    process = Process(image_hosts=",".join(HOSTS), fetch_seconds=60, **LIGHT, **PATIENT)
    process.wait_ready()
    print(json.dumps(asyncio.run(attack(process.url))))
    assert process.stop()[0] == 0


if __name__ == "__main__":
    main()
