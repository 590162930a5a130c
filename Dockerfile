# The service without PyTorch, on the CPU or on an NVIDIA GPU, and the tools that export models, with PyTorch:
#   docker build -t clipserve .
#   docker build -t clipserve:gpu --build-arg VARIANT=gpu .
#   docker build -t clipserve:export --build-arg VARIANT=export .
# A base may be given by its digest: --build-arg BASE_CPU=python:3.12-slim-bookworm@sha256:...
# deploy/compose.md has the rest.
ARG VARIANT=cpu
# Any image with Python 3.11 or newer and its module venv.
ARG BASE_CPU=python:3.12-slim-bookworm
# Not NVIDIA's image: CUDA and cuDNN come with the packages of requirements/image-gpu.txt, the driver with the machine.
ARG BASE_GPU=python:3.12-slim-bookworm

# hadolint ignore=DL3006
FROM ${BASE_CPU} AS base-cpu
FROM base-cpu AS base-export
# hadolint ignore=DL3006
FROM ${BASE_GPU} AS base-gpu
# NVIDIA's container runtime adds the GPUs, and the driver's libraries for computing.
ENV NVIDIA_VISIBLE_DEVICES=all NVIDIA_DRIVER_CAPABILITIES=compute,utility

# The packages in /app/.venv, installed by a pip outside of it, and their list: lock files do not know the variant.
# hadolint ignore=DL3006
FROM base-${VARIANT} AS build
ARG VARIANT
# Another index, such as PyTorch's for machines without a GPU.
ARG PIP_EXTRA_INDEX_URL
WORKDIR /requirements
COPY requirements/ .
# Delete OpenVINO's plugins for Intel's GPUs and NPUs, a third of it: the engine uses the CPU. And onnx's tests, half of it.
RUN python3 -m venv /pip && python3 -m venv --without-pip /app/.venv \
    && case "$VARIANT" in \
         export) file=service.txt ;; \
         *) file="image-$VARIANT.txt" ;; \
       esac \
    && /pip/bin/pip --python /app/.venv/bin/python install --no-cache-dir --require-hashes -r "$file" \
    && rm -f /app/.venv/lib/python3*/site-packages/openvino/libs/libopenvino_intel_[gn]pu_plugin.so \
      /app/.venv/lib/python3*/site-packages/openvino/libs/cache.json \
    && rm -rf /app/.venv/lib/python3*/site-packages/onnx/backend/test \
    && /pip/bin/pip install --no-cache-dir --require-hashes -r sbom.txt

# The code has its own layer, because it changes more often than the packages. Compiled here, because the root of a running
# container is read-only.
# hadolint ignore=DL3006
FROM base-${VARIANT} AS code
# A compiler for the extension in C, and Debian's headers if this is Debian's Python. A base without apt-get must have them, else
# Pillow resizes images.
# hadolint ignore=DL3008,SC2046
RUN include=$(python3 -c 'import sysconfig; print(sysconfig.get_path("include"))') && command -v apt-get >/dev/null || exit 0; \
    apt-get update -qq \
    && apt-get install -qq --yes --no-install-recommends gcc libc6-dev $(test -f "$include/Python.h" || echo python3-dev) \
    && rm -rf /var/lib/apt/lists/*
COPY requirements/build.txt /requirements/
RUN python3 -m venv /pip && python3 -m venv --without-pip /app/.venv \
    && /pip/bin/pip install --no-cache-dir --require-hashes -r /requirements/build.txt
COPY service/ /source/service/
COPY models/ /source/models/
RUN /pip/bin/pip wheel --no-cache-dir --no-deps --no-build-isolation --wheel-dir /wheels /source/service /source/models \
    && /pip/bin/pip --python /app/.venv/bin/python install --no-cache-dir --no-deps --no-compile /wheels/*.whl \
    && python3 -m compileall -q --invalidation-mode unchecked-hash /app/.venv/lib/python3*/site-packages/clipserve* \
    # The demo model at a path without Python's version, for manifests.
    && ln -s /app/.venv/lib/python3*/site-packages/clipserve/demo /app/demo

FROM build AS packages-cpu
FROM build AS packages-gpu
FROM build AS packages-export
COPY --from=code /wheels /wheels
RUN /pip/bin/pip --python /app/.venv/bin/python install --no-cache-dir --find-links /wheels "$(echo /wheels/clipserve_models-*.whl)[export]"

# hadolint ignore=DL3006
FROM packages-${VARIANT} AS listed
COPY --from=code /app /app
COPY service/pyproject.toml /requirements/
RUN /pip/bin/cyclonedx-py environment --pyproject /requirements/pyproject.toml --output-reproducible --output-file /app/sbom.cdx.json \
      /app/.venv/bin/python

# hadolint ignore=DL3006
FROM packages-${VARIANT} AS packages
# hadolint ignore=DL3006
FROM base-${VARIANT}
RUN rm -rf /usr/local/bin/pip* /usr/local/lib/python3*/ensurepip /usr/local/lib/python3*/site-packages/pip* \
      /usr/lib/python3*/ensurepip /usr/share/python-wheels \
    && useradd --uid 10001 --home-dir /var/lib/clipserve --no-create-home --shell /usr/sbin/nologin clipserve \
    && install --directory --owner=10001 --group=10001 --mode=0700 /var/lib/clipserve \
    # A new volume gets the owner of the folder that it covers.
    && install --directory --owner=10001 --group=10001 /artifact /repository
COPY --from=packages /app /app
COPY --from=code /app /app
COPY --from=listed /app/sbom.cdx.json /app/
WORKDIR /app
USER 10001:10001
ENV PATH=/app/.venv/bin:$PATH PYTHONDONTWRITEBYTECODE=1 HOME=/var/lib/clipserve \
    CLIPSERVE_HOST=0.0.0.0 CLIPSERVE_STATE_DIR=/var/lib/clipserve
EXPOSE 8080 8081 8082
# Not /readyz: a container that drains or waits for Triton must not be restarted as unhealthy.
HEALTHCHECK --interval=10s --timeout=3s --start-period=60s \
    CMD ["python3", "-c", "import os, urllib.request as r; port = os.environ.get('CLIPSERVE_OPERATIONS_PORT', '8082'); host = '[::1]' if ':' in os.environ.get('CLIPSERVE_HOST', '') else '127.0.0.1'; r.urlopen(f'http://{host}:{port}/livez', timeout=2)"]
ENTRYPOINT ["clipserve"]
# Last, because they change with every commit.
ARG VERSION=unknown
ARG REVISION=unknown
LABEL org.opencontainers.image.title="clipserve" \
      org.opencontainers.image.description="CLIP image and text encoders behind one small HTTP and gRPC service" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.revision="${REVISION}"
