"""The check of Triton servers: reachable, and serving the artifact that this gateway holds."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

from clipserve.clip.artifact import IMAGE_GRAPH, TEXT_GRAPH, ArtifactError
from clipserve.clip.manifest import ModelManifest
from clipserve.commands.doctor.context import Context
from clipserve.commands.doctor.findings import Finding, ok, problem
from clipserve.settings import ModelSettings

_SECONDS = 3.0  # for one server's answers
_NOBODY = (
    "start Triton, or correct CLIPSERVE_TRITON_URL: gRPC's port (8001), with TLS only if CLIPSERVE_TRITON_TLS "
    "says so"
)


def triton(context: Context) -> Iterator[Finding]:
    """Each server of each model that Triton computes."""
    wanted = [each for each in context.models() if each[2].backend == "triton"]
    if not wanted:
        yield ok("no model is computed on Triton")
    for folder, manifest, own in wanted:
        yield from asyncio.run(_listed(folder, manifest, own))


async def _listed(folder: Path, manifest: ModelManifest, own: ModelSettings) -> list[Finding]:
    found = [each async for each in _servers(manifest, own)]
    if any(finding.level == "ok" for finding in found):
        found.append(await _self_test(folder, manifest, own))
    return found


async def _servers(manifest: ModelManifest, own: ModelSettings) -> AsyncIterator[Finding]:
    from clipserve.engine.triton.address import look_up
    from clipserve.engine.triton.options import TritonOptions

    token = own.triton_token.get_secret_value() if own.triton_token else None
    options = TritonOptions(own.triton_url, own.triton_tls, own.triton_ca_file, token, _SECONDS)
    for address in options.addresses:
        try:
            async with asyncio.timeout(_SECONDS):
                servers = await look_up(address)
        except (OSError, TimeoutError) as error:
            yield problem(
                f"{address.host} has no address: {getattr(error, 'strerror', None) or 'no answer'}",
                "correct CLIPSERVE_TRITON_URL, or the name server",
            )
            continue
        for server in servers:
            try:
                connection = options.connect(server, address)
            except OSError as error:
                yield problem(
                    f"CLIPSERVE_TRITON_CA_FILE: {error.strerror}", "name a file of certificates, PEM"
                )
                return
            try:
                yield await _asked(server, connection.client, manifest, options.credentials)
            finally:
                await connection.aclose()


async def _asked(server: str, client: object, manifest: ModelManifest, headers: dict[str, str]) -> Finding:
    from tritonclient.utils import InferenceServerException

    from clipserve.engine.triton.expected import Expected
    from clipserve.errors import BackendUnavailable

    expected = Expected(manifest, headers)
    try:
        async with asyncio.timeout(_SECONDS):
            if not await expected.ready(client):
                names = " and ".join(expected.models.values())
                return problem(
                    f"Triton at {server} does not serve {names} now",
                    "write its repository from this artifact (`clipserve models triton`), and look at its log",
                )
            rows = await expected.rows(client)
    except BackendUnavailable as error:
        return problem(
            f"Triton at {server}: {error.detail}",
            "serve the same artifact at both: `clipserve models triton` writes the repository (docs/triton.md)",
        )
    except TimeoutError:
        return problem(f"Triton at {server} does not answer within {_SECONDS:g} s", _NOBODY)
    except InferenceServerException as error:
        return problem(f"Triton at {server} cannot be asked: {str(error.message())[:300]}", _NOBODY)
    precision = expected.precision or manifest.precision
    return ok(
        f"Triton at {server} serves {manifest.fingerprint(precision=expected.precision)} in {precision}, up to "
        f"{rows['image']} images and {rows['text']} texts a call"
    )


async def _self_test(folder: Path, manifest: ModelManifest, own: ModelSettings) -> Finding:
    """The reference inputs, through the client that the service has."""
    from clipserve.application.served_model import reference_feeds
    from clipserve.clip.reference import check
    from clipserve.clip.tokenizer import load_tokenizer
    from clipserve.engine.triton.client import TritonBackend
    from clipserve.engine.triton.options import TritonOptions
    from clipserve.errors import ClipError
    from clipserve.telemetry.metrics import Metrics

    token = own.triton_token.get_secret_value() if own.triton_token else None
    options = TritonOptions(own.triton_url, own.triton_tls, own.triton_ca_file, token, _SECONDS)
    backend = TritonBackend(manifest, options, Metrics())
    try:
        feeds = reference_feeds(manifest, load_tokenizer(folder, manifest.text))
        async with asyncio.timeout(3 * _SECONDS):
            await backend.start()
            images = await backend.encode_image(feeds[IMAGE_GRAPH]["pixels"])
            texts = await backend.encode_text(feeds[TEXT_GRAPH]["token_ids"], feeds[TEXT_GRAPH]["lengths"])
        cosine = check(manifest, images, texts, backend.precision)
    except (ArtifactError, ClipError, TimeoutError) as error:
        said = str(error) or "no answer in time"
        return problem(
            f"{manifest.name} on Triton: {said}", "look at Triton's log, and write its repository anew"
        )
    finally:
        await backend.aclose()
    return ok(f"{manifest.name} on Triton: self-test at cosine {cosine:.6f}")
