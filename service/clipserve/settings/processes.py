"""The settings of the processes of one gateway."""

from __future__ import annotations

from pydantic import BaseModel, Field


class ProcessSettings(BaseModel):
    """A part of `Settings`."""

    processes: int = Field(
        1,
        ge=1,
        le=64,
        description="processes that share the ports, each with its part of the limits; more than one needs "
        "`triton` as backend of all models",
    )
