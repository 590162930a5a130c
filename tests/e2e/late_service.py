"""`python -m tests.e2e.late_service`: the service, with models that start LATE seconds later than usual.

CLOSED: how many seconds its port stays closed meanwhile.
"""

from __future__ import annotations

import asyncio
import os

import clipserve.__main__
from clipserve.wiring import serve
from clipserve.wiring.gateway import Gateway

if __name__ == "__main__":
    usual = Gateway.warm_up

    async def late(self: Gateway) -> None:
        await asyncio.sleep(float(os.environ["LATE"]))
        await usual(self)

    Gateway.warm_up = late  # type: ignore[method-assign]
    serve.CLOSED_SECONDS = float(os.environ["CLOSED"])
    clipserve.__main__.main()
