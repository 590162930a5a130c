"""A gateway that loses its Triton again and again does not grow."""

from __future__ import annotations

import asyncio

import httpx
from scipy.stats import theilslopes

from tests.external.triton.conftest import Triton
from tests.support.process import PATIENT_WITH_CLIENTS, Process
from tests.support.service import form, png
from tests.triton.wire import Wire

PHOTO = png(size=(400, 300))


async def test_thirty_losses_leave_no_memory_behind(triton: Triton) -> None:
    """A gateway sees the same of a server that is killed as of a wire to it that is cut: that takes no start."""
    wire = Wire(triton.grpc_port)
    await wire.join()
    process = Process(backend="triton", triton_url=wire.url, **PATIENT_WITH_CLIENTS)
    sizes = []
    try:
        await asyncio.to_thread(process.wait_ready)
        async with httpx.AsyncClient(base_url=process.url, timeout=60) as client:
            for _ in range(30):
                assert await asked(client) == 200
                await wire.cut()
                assert await asked(client) == 503
                await said(client, 503)
                await wire.join()
                await said(client, 200)
                sizes.append(process.resident())
        assert (await asyncio.to_thread(process.stop))[0] == 0
    finally:
        process.popen.kill()
        await wire.cut()
    assert theilslopes(sizes[10:]).slope < 60, sizes  # KiB a loss; neither noise nor a single step counts


async def asked(client: httpx.AsyncClient) -> int:
    files = form([PHOTO] * 4, {"text": "cat"})
    return (await client.post("/embed", files=files)).status_code


async def said(client: httpx.AsyncClient, status: int) -> None:
    """Wait until /readyz says so. A second or two are promised; ten minutes are there to notice a hang."""
    async with asyncio.timeout(600):
        while (await client.get("/readyz")).status_code != status:
            await asyncio.sleep(0.02)
