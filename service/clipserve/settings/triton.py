"""The settings of Triton, each of which may differ from model to model."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, BeforeValidator, Field, FilePath, SecretStr, field_validator
from pydantic_settings import NoDecode

from clipserve.engine.triton.address import parse_address
from clipserve.settings.values import split


class TritonSettings(BaseModel):
    """A part of `ModelSettings`."""

    triton_url: Annotated[tuple[str, ...], NoDecode, BeforeValidator(split)] = Field(
        ("localhost:8001",),
        min_length=1,
        description="host:port of Triton's gRPC endpoints, comma-separated; a name stands for all its addresses, "
        "and is looked up again every few seconds",
    )
    triton_tls: bool = Field(False, description="encrypt the connection to Triton")
    triton_ca_file: FilePath | None = Field(
        None, description="certificates to trust; without it the system's"
    )
    triton_token: SecretStr | None = Field(
        None,
        description="sent to Triton: as a bearer token, and as its restricted-protocol key `token`",
    )

    @field_validator("triton_url")
    @classmethod
    def _addresses(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        if len({parse_address(each) for each in value}) != len(value):
            raise ValueError("it has an endpoint twice")
        return value

    @field_validator("triton_token", mode="before")
    @classmethod
    def _in_a_header(cls, value: object) -> object:
        token = (
            value.strip() if isinstance(value, str) else ""
        )  # a file that it was read from ends with a newline
        if isinstance(value, str) and not (token.isascii() and token.isprintable() and token):
            raise ValueError("a token has printable ASCII characters only")
        return token or value
