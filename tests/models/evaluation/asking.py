"""An evaluation by a service, or in this process."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

from clipserve.commands.opening import open_clip
from clipserve_models.evaluate import Plan, evaluation
from clipserve_models.evaluation.report import Report


def evaluated(
    url: str | None, data: Path, classes: Path | None = None, in_flight: int = 8, **plan: Any
) -> Report:
    async def asked() -> Report:
        async with open_clip(url, None, None, in_flight=in_flight) as clip:
            return await evaluation(clip, Plan(data, classes, **plan))

    return asyncio.run(asked())
