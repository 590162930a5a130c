#!/bin/sh
# setup.sh NAME DIR [PYTHON]: the virtual environment DIR with what NAME.txt lists, and NAME.no-deps.txt.
set -eu
here=$(dirname "$0")
requirements=$here/$1.txt
test -r "$requirements" || { echo "error: there is no $requirements" >&2; exit 1; }
alone=$here/$1.no-deps.txt
wanted=$(cat "$requirements" "$alone" 2>/dev/null || true)
test "$(cat "$2/installed" 2>/dev/null)" != "$wanted" || exit 0

"${3:-python3}" -m venv "$2"
python=$2/bin/python
install() { "$python" -m pip install --quiet --disable-pip-version-check "$@"; }
# clip-as-service and its dependencies build with pkg_resources, which setuptools 81 and later lack.
install 'setuptools<81' wheel
install --no-build-isolation -r "$requirements"
test ! -e "$alone" || install --no-build-isolation --no-deps -r "$alone"
echo "$wanted" > "$2/installed"
