"""`clipserve models`, also `python -m clipserve_models`: make artifacts and check them."""

from __future__ import annotations

import logging
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Literal

import typer

from clipserve.clip.artifact import ArtifactError, read_manifest
from clipserve_models.cache import Artifact, Artifacts
from clipserve_models.errors import ModelsError
from clipserve_models.evaluate import evaluate
from clipserve_models.export_command import export, list_models
from clipserve_models.probe import probe

# The same as in `triton_options` and `variants.gate`, which import too much for every command.
BackendName = Literal["onnxruntime", "tensorrt"]
TritonDevice = Literal["cpu", "gpu"]
VariantPrecision = Literal["fp16", "int8"]
# A repository must have the same values as the plans that it serves.
Images = Annotated[int | None, typer.Option(min=1, help="Most images in one call.")]
Texts = Annotated[int | None, typer.Option(min=1, help="Most texts in one call.")]

app = typer.Typer(
    help="Make artifacts, the folders of data that the service serves, and check them.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)


app.command("list")(list_models)
app.command()(export)


@app.command()
def verify(folder: Artifact) -> None:
    """Check an artifact: its files against their checksums, its graphs against its reference vectors."""
    from clipserve_models.verify import verify as check

    manifest, cosine = check(folder)
    typer.echo(
        f"{manifest.fingerprint()}: {len(manifest.files)} files as exported, lowest cosine {cosine:.8f}"
    )


app.command()(evaluate)
app.command()(probe)


@app.command()
def variant(
    folder: Artifact,
    precision: Annotated[VariantPrecision, typer.Option(help="What the variant computes in.")],
    photos: Annotated[
        Path, typer.Option(help="Photos like those that will be served.", exists=True, file_okay=False)
    ],
    out: Annotated[Path | None, typer.Option(help="Default: NAME@PRECISION beside FOLDER.")] = None,
    image: Annotated[bool, typer.Option("--image/--no-image", help="Convert the image encoder.")] = True,
    text: Annotated[bool, typer.Option("--text/--no-text", help="Convert the text encoder.")] = True,
) -> None:
    """Make a variant of an fp32 artifact in a smaller precision, if it is faithful to fp32 on photos."""
    from clipserve_models.variants.making import GRAPHS, make_variant, plan_of, table

    logging.disable(logging.WARNING)  # the quantizer logs advice that has been followed already
    towers = tuple(tower for tower, chosen in zip(GRAPHS, (image, text), strict=True) if chosen)
    plan = plan_of(folder, photos, precision, out=out, towers=towers)
    typer.echo(table(plan, make_variant(plan, say=typer.echo)))


@app.command()
def triton(
    folders: Artifacts,
    out: Annotated[Path, typer.Option(help="The model repository.")],
    backend: Annotated[BackendName, typer.Option(help="What runs the graphs inside Triton.")] = "onnxruntime",
    device: Annotated[
        TritonDevice | None, typer.Option(help="The default is gpu; tensorrt has no other.")
    ] = None,
    max_batch_images: Images = None,
    max_batch_texts: Texts = None,
    instances: Annotated[
        int | None, typer.Option(min=1, help="Copies of each encoder and its weights.")
    ] = None,
) -> None:
    """Write artifacts into a Triton model repository. The defaults depend on the device.

    Models that this command has written there for other artifacts are removed; what others have written stays.
    """
    from clipserve_models.triton_options import options_of
    from clipserve_models.triton_repository import remove_others, write_repository

    options = options_of(backend, device, max_batch_images, max_batch_texts, instances)
    names = [name for folder in folders for name in write_repository(folder, out, options)]
    if removed := remove_others(out, names):
        typer.echo(f"{' and '.join(removed)} removed from {out}")
    typer.echo(f"{' and '.join(names)} in {out}: {backend} on the {options.device}")
    if options.device == "gpu" and any(read_manifest(folder).precision == "fp32" for folder in folders):
        typer.echo(
            "warning: fp32 has none of a GPU's tensor cores, as TF32 is off: by NVIDIA's figures an H100 does 67 "
            "TFLOPS in fp32 and 989 in fp16. `clipserve models variant` makes an fp16 variant.",
            err=True,
        )


@app.command("plan-lines")
def plan_lines(folder: Artifact, max_batch_images: Images = None, max_batch_texts: Texts = None) -> None:
    """Write plans.sh into an artifact: it builds the plans on a machine with TensorRT, without clipserve."""
    from clipserve_models.triton_options import options_of
    from clipserve_models.triton_plans import write_lines

    script = write_lines(folder, options_of("tensorrt", None, max_batch_images, max_batch_texts))
    typer.echo(f"run it on the GPU that will serve the plans: sh {script}")


def main(arguments: Sequence[str] | None = None) -> None:
    """Run a command, of the command line or these; an expected error is printed without a traceback."""
    try:
        app(arguments, prog_name="clipserve models")
    except (ModelsError, ArtifactError, OSError) as error:
        typer.echo(f"error: {error}", err=True)
        sys.exit(1)


if __name__ == "__main__":
    main()
