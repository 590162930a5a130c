#!/usr/bin/env bash
# A real Triton server on the CPU, without Docker: NVIDIA publishes the server's binary and its Python backend on
# PyPI, in the wheel of PyTriton. For `make triton` and the tests; production uses NVIDIA's image.
#
#   local.sh setup                        install the server (a download of 55 MB) unless it is there
#   local.sh serve REPOSITORY [OPTION...] run it in the foreground; OPTIONs go to tritonserver, after ours
#
# Variables, with their defaults:
#   TRITON_HOME=.triton (in the repository)    where the server is installed
#   TRITON_PYTHON=.venv/bin/python             a Python with numpy and onnxruntime; it runs the models
#   TRITON_ADDRESS=127.0.0.1  TRITON_GRPC_PORT=8001  TRITON_METRICS_PORT=8002
#   TRITON_HTTP_PORT=                          none: HTTP is off, gRPC and metrics do not need it
set -euo pipefail

readonly VERSION=0.7.0 # of nvidia-pytriton
readonly SHA256=21f063ff93bb426d0c06b7a55e7eb9efcfe62c0dddd9a908e9877e18710128df

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
home=${TRITON_HOME:-$root/.triton}
python=${TRITON_PYTHON:-$root/.venv/bin/python}

fail() {
  echo "triton: $*" >&2
  exit 1
}

# ask EXPRESSION: its value in the Python that runs the models.
ask() {
  "$python" -c "import sys, sysconfig; print($1)"
}

# Sets `library`, the shared library of that Python, and `site`, the installed wheel: one for each version of
# Python, because the Python backend runs models in a stub that is linked to one.
setup() {
  [[ $(uname -sm) == "Linux x86_64" ]] || fail "the server on PyPI is for Linux on x86_64; use NVIDIA's image."
  [[ -x $python ]] || fail "$python is not there: run 'make run' once, or set TRITON_PYTHON."
  local version
  version=$(ask "'%d.%d' % sys.version_info[:2]")
  library=$(ask "'/'.join(map(sysconfig.get_config_var, ('LIBDIR', 'INSTSONAME')))")
  [[ $library == *.so* && -f $library ]] ||
    fail "$python has no shared library ($library): install it (Debian: libpython$version), or set TRITON_PYTHON."
  site=$home/pytriton-$VERSION-py$version
  [[ ! -d $site ]] || return 0
  mkdir -p "$home"
  (flock 9 && [[ -d $site ]] || install "$version") 9>"$home/lock" # one of concurrent callers installs
}

# install VERSION: for this version of Python, into `site`.
install() {
  echo "triton: installing the server into $site ..." >&2
  local partial=$site.partial stub
  rm -rf "$partial"
  # pip takes a hash from a requirements file only.
  "$python" -m pip install --quiet --disable-pip-version-check --no-deps --no-compile --require-hashes \
    --target "$partial" -r <(echo "nvidia-pytriton==$VERSION --hash=sha256:$SHA256")
  stub=$partial/pytriton/tritonserver/python_backend_stubs/$1/triton_python_backend_stub
  [[ -f $stub ]] || fail "nvidia-pytriton $VERSION has no stub for Python $1: set TRITON_PYTHON to an older one."
  cp "$stub" "$partial/pytriton/tritonserver/backends/python/"
  if [[ $1 == 3.13 ]]; then # the stub brings a library of its own, which does not fit a later 3.13.x
    ln -sf "$library" "$partial"/nvidia_pytriton.libs/libpython3-*.13.so.1.0
  fi
  mv "$partial" "$site"
}

serve() {
  local server=$site/pytriton/tritonserver key
  key=$(ask "__import__('secrets').token_hex(16)")
  # The stub is a separate Python. It takes its shared library from LD_LIBRARY_PATH, and its home, with the packages,
  # is that of the first `python3` of PATH; it does not read PYTHONPATH.
  export LD_LIBRARY_PATH=$site/nvidia_pytriton.libs:${library%/*} PATH=${python%/*}:$PATH
  local http=(--allow-http=false)
  local closed=model-repository,logging,trace,shared-memory
  [[ -z ${TRITON_HTTP_PORT:-} ]] || http=(--http-address="${TRITON_ADDRESS:-127.0.0.1}" --http-port="$TRITON_HTTP_PORT")
  # Do not treat a client's pings as an attack (by default the third ping gets GOAWAY). This version cannot turn off
  # client shared memory: a random key protects it, and everything that changes the running server.
  exec "$server/bin/tritonserver" \
    --model-repository="$1" --model-control-mode=none --disable-auto-complete-config \
    --backend-directory="$server/backends" --backend-config=python,stub-timeout-seconds=120 \
    --exit-on-error=true --strict-readiness=true --exit-timeout-secs=25 \
    --grpc-http2-max-ping-strikes=0 \
    --grpc-address="${TRITON_ADDRESS:-127.0.0.1}" --grpc-port="${TRITON_GRPC_PORT:-8001}" "${http[@]}" \
    --metrics-address="${TRITON_ADDRESS:-127.0.0.1}" --metrics-port="${TRITON_METRICS_PORT:-8002}" \
    --allow-gpu-metrics=false --grpc-restricted-protocol="$closed:key=$key" \
    "${@:2}"
}

case "${1:-}" in
  setup) setup ;;
  serve)
    [[ -d ${2:-} ]] || fail "usage: local.sh serve REPOSITORY: '${2:-}' is not a folder."
    setup
    serve "${@:2}"
    ;;
  *) fail "usage: local.sh setup | serve REPOSITORY [OPTION...]" ;;
esac
