#!/bin/sh
# On a system with nothing but Python and its module venv: installs the wheels in DIST, starts the service, and classifies PHOTO.
# Prints seconds and megabytes. With musl, for which there is no onnxruntime, it installs and imports the client.
#   first_answer.sh DIST PHOTO
set -eu
dist=$1 photo=$2
folder=$(mktemp -d) && cd "$folder"
begun=$(date +%s)
python3 -m venv venv
if venv/bin/python -c 'import sysconfig; raise SystemExit("musl" not in sysconfig.get_config_var("SOABI"))'; then
  venv/bin/pip install --quiet --disable-pip-version-check --find-links "$dist" clipserve-core Pillow
  venv/bin/python -c "import clipserve; clipserve.Client; from clipserve.clip import resampling; print(resampling.RESIZED_BY)"
  exit
fi
venv/bin/pip install --quiet --disable-pip-version-check ${CONSTRAINTS:+--constraint "$CONSTRAINTS"} --find-links "$dist" "$dist"/clipserve-*.whl
installed=$(date +%s)
venv/bin/clipserve >log 2>&1 &
trap 'kill $!; wait; rm -r "$folder"' EXIT
until venv/bin/clipserve classify "$photo" --labels cat,dog,car --url "http://127.0.0.1:${CLIPSERVE_PORT:-8080}" >answer 2>/dev/null; do
  kill -0 $! || { cat log; exit 1; }
  sleep 0.2
done
echo "installed after $((installed - begun)) s, first answer $(($(date +%s) - installed)) s later, $(du -sm venv | cut -f1) MB"
grep cat answer
