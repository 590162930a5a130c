"""`python -m clipserve.commands.doctor.start`: a start without serving, in a process of its own.

It logs as a start does, and exports no model. An engine that crashes or takes all memory ends it, not the doctor.
"""

from __future__ import annotations

import asyncio
import re
import sys
from pathlib import Path

from clipserve.clip.images import configure_pillow
from clipserve.commands.running import START_FAULTS
from clipserve.errors import BackendUnavailable
from clipserve.settings import Settings, read_settings
from clipserve.telemetry import log
from clipserve.telemetry.log import logger
from clipserve.wiring.gateway import open_gateway
from clipserve.wiring.listening import allow_open_files, warn_if_open
from clipserve.wiring.model_names import find, opened

# A service waits for its Triton for as long as that takes.
_TRITON_SECONDS = 20.0
_NO_TRITON = (
    f"Triton does not serve the models within {_TRITON_SECONDS:g} s. Start it, or correct CLIPSERVE_TRITON_URL; "
    "`clipserve models triton` writes its repository (docs/triton.md)"
)


async def started(settings: Settings) -> None:
    """Open all that a service opens but its ports, until the models are ready. Raises what a start raises."""
    served = [settings.of_model(each.name) for each in opened(settings.models)]
    in_process = all(model.backend_kind.in_process for model in served)
    async with open_gateway(settings) as gateway:
        try:
            async with asyncio.timeout(None if in_process else _TRITON_SECONDS):
                await gateway.warm_up()
        except TimeoutError:
            raise BackendUnavailable(_NO_TRITON) from None


def main() -> int:
    """The exit status. The last line has the most memory that it took."""
    log.start()
    settings = read_settings()
    try:
        folders = tuple(find(model, settings) for model in settings.models)
        configure_pillow()
        warn_if_open(settings)
        allow_open_files(settings)
        asyncio.run(started(settings.model_copy(update={"models": folders})))
    except START_FAULTS as error:
        logger.critical("cannot_start", reason=str(error))
        return 1
    peak = re.search(r"VmHWM:\s+(\d+) kB", Path("/proc/self/status").read_text("utf-8"))
    logger.info("started", peak_bytes=int(peak[1]) * 1_024 if peak else 0)
    return 0


if __name__ == "__main__":
    sys.exit(main())
