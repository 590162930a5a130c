"""The settings of the gRPC front alone."""

from __future__ import annotations

from pathlib import Path

from pydantic import BaseModel, Field, FilePath, ValidationInfo, field_validator


class RpcSettings(BaseModel):
    """A part of `Settings`."""

    grpc_port: int = Field(8081, ge=0, le=65535, description="gRPC port")
    grpc_enabled: bool = Field(True, description="listen on grpc_port")
    grpc_tls_cert_file: FilePath | None = Field(
        None,
        description="certificates of the gRPC port, PEM, its own first; without them it is not encrypted",
    )
    grpc_tls_key_file: FilePath | None = Field(
        None, description="the key of that certificate, PEM", validate_default=True
    )
    grpc_tls_client_ca_file: FilePath | None = Field(
        None, description="gRPC clients must have a certificate that one of these has signed, PEM"
    )

    @field_validator("grpc_tls_key_file")
    @classmethod
    def _with_certificate(cls, value: Path | None, read: ValidationInfo) -> Path | None:
        # What is not valid itself is not in `read.data`, and has an error of its own.
        if (value is None) != (read.data.get("grpc_tls_cert_file", value) is None):
            raise ValueError("grpc_tls_cert_file and grpc_tls_key_file are set both or neither")
        return value

    @field_validator("grpc_tls_client_ca_file")
    @classmethod
    def _with_key(cls, value: Path | None, read: ValidationInfo) -> Path | None:
        if value is not None and read.data.get("grpc_tls_key_file", value) is None:
            raise ValueError("it needs grpc_tls_cert_file and grpc_tls_key_file")
        return value
