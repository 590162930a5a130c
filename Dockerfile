# The service, without PyTorch. VARIANT=cpu (default) or gpu:
#   docker build -t clipserve .
#   docker build -t clipserve:gpu --build-arg VARIANT=gpu .
ARG VARIANT=cpu

FROM python:3.12-slim-bookworm AS base-cpu

# onnxruntime-gpu is built for CUDA 13.
FROM nvidia/cuda:13.0.1-cudnn-runtime-ubuntu24.04 AS base-gpu
# hadolint ignore=DL3008
RUN apt-get update \
    && apt-get install -y --no-install-recommends python3 python3-venv \
    && rm -rf /var/lib/apt/lists/*

# hadolint ignore=DL3006
FROM base-${VARIANT} AS build
ARG VARIANT
WORKDIR /requirements
COPY requirements/ .
RUN python3 -m venv /app/.venv \
    && if [ "$VARIANT" = gpu ]; then set -- -r service-gpu.txt; else set -- -r service.txt -r openvino.txt; fi \
    && /app/.venv/bin/python -m pip install --no-cache-dir --require-hashes "$@"

# hadolint ignore=DL3006
FROM base-${VARIANT}
RUN useradd --uid 10001 --no-create-home --shell /usr/sbin/nologin clipserve \
    && install --directory --owner=10001 --mode=0700 /var/lib/clipserve
WORKDIR /app
COPY --from=build /app/.venv .venv
COPY clipserve pyproject.toml ./
COPY service/ service/
COPY models/ models/
USER 10001
ENV PATH=/app/.venv/bin:/app:$PATH PYTHONDONTWRITEBYTECODE=1 CLIPSERVE_HOST=0.0.0.0 CLIPSERVE_STATE_DIR=/var/lib/clipserve
EXPOSE 8080 8081 8082
HEALTHCHECK --interval=10s --timeout=3s --start-period=60s \
    CMD ["python3", "-c", "import os, urllib.request as r; port = os.environ.get('CLIPSERVE_OPERATIONS_PORT', '8082'); r.urlopen(f'http://127.0.0.1:{port}/livez', timeout=2)"]
ENTRYPOINT ["clipserve"]
