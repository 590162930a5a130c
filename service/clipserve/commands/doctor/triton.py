"""Checks Triton servers: whether they are reachable, and serve the artifact of this gateway."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import grpc

from clipserve.application.served_model import reference_feeds
from clipserve.clip.artifact import IMAGE_GRAPH, TEXT_GRAPH, ArtifactError
from clipserve.clip.manifest import ModelManifest
from clipserve.clip.reference import check
from clipserve.clip.tokenizer import load_tokenizer
from clipserve.commands.doctor.findings import Finding, ok, problem
from clipserve.engine.triton.address import Address, look_up
from clipserve.engine.triton.client import TritonBackend
from clipserve.engine.triton.expected import Expected
from clipserve.engine.triton.options import TritonOptions
from clipserve.errors import BackendUnavailable, ClipError
from clipserve.settings import ModelSettings
from clipserve.telemetry.metrics import Metrics

_SECONDS = 10.0  # for one server's answers
_URL = "correct CLIPSERVE_TRITON_URL: host:port of gRPC (8001), with TLS only if CLIPSERVE_TRITON_TLS says so"
_REPOSITORY = "write its repository from this artifact: `clipserve models triton` (docs/triton.md)"


async def examined(folder: Path, manifest: ModelManifest, settings: ModelSettings) -> list[Finding]:
    """Ask each server of this model, then run the self-test on them."""
    options = settings.options(TritonOptions, deadline_seconds=_SECONDS)
    try:
        options.check_certificates()
    except BackendUnavailable as error:
        return [problem(error.detail, "name a file of certificates, PEM, in CLIPSERVE_TRITON_CA_FILE")]
    found = [finding async for finding in _servers(manifest, options)]
    if any(finding.level == "ok" for finding in found):
        found.append(await _self_test(folder, manifest, options))
    return found


async def _servers(manifest: ModelManifest, options: TritonOptions) -> AsyncIterator[Finding]:
    for address in options.addresses:
        try:
            async with asyncio.timeout(_SECONDS):
                servers = await look_up(address)
        except (OSError, TimeoutError) as error:
            reason = getattr(error, "strerror", None) or "no answer"
            yield problem(f"{address.host} has no address: {reason}", f"{_URL}; or mend the name server")
            continue
        for server in servers:
            for finding in await _asked(server, address, manifest, options):
                yield finding


async def _asked(
    server: str, address: Address, manifest: ModelManifest, options: TritonOptions
) -> list[Finding]:
    expected, connection = Expected(manifest), options.connect(server, address)
    try:
        async with asyncio.timeout(_SECONDS):
            if not await expected.ready(connection):
                names = " and ".join(expected.models.values())
                found = f"Triton at {server} does not serve {names} now"
                return [problem(found, f"look at its log; {_REPOSITORY}")]
            served = await expected.served(connection)
    except BackendUnavailable as error:
        found = f"Triton at {server}: {error.detail}"
        return [problem(found, f"serve the same artifact at both: {_REPOSITORY}")]
    except TimeoutError:
        return [problem(f"Triton at {server} does not answer within {_SECONDS:g} s", f"start it, or {_URL}")]
    except grpc.aio.AioRpcError as error:
        reason = str(error.details())[:300]
        return [problem(f"Triton at {server} cannot be asked: {reason}", f"start it, or {_URL}")]
    finally:
        await connection.aclose()
    images, texts = served["image"].rows, served["text"].rows
    serves = ok(
        f"Triton at {server} serves {manifest.fingerprint(precision=expected.precision)} in "
        f"{expected.precision or manifest.precision}, up to {images} images and {texts} texts a call"
    )
    return [serves]


async def _self_test(folder: Path, manifest: ModelManifest, options: TritonOptions) -> Finding:
    """Run the self-test through the service's client."""
    backend = TritonBackend(manifest, options, Metrics())
    try:
        feeds = reference_feeds(manifest, load_tokenizer(folder, manifest.text))
        async with asyncio.timeout(3 * _SECONDS):
            await backend.start()
            images = await backend.encode_image(**feeds[IMAGE_GRAPH])
            texts = await backend.encode_text(**feeds[TEXT_GRAPH])
        cosine = check(manifest, images, texts, backend.precision)
    except (ArtifactError, ClipError, TimeoutError) as error:
        found = f"{manifest.name} on Triton: {str(error) or 'no answer in time'}"
        return problem(found, f"look at Triton's log; {_REPOSITORY}")
    finally:
        await backend.aclose()
    return ok(f"{manifest.name} on Triton: self-test at cosine {cosine:.6f}")
