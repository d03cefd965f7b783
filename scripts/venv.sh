#!/usr/bin/env bash
# Makes or refreshes a virtual environment of this project and prints the path of its Python.
#
# Usage: scripts/venv.sh NAME EXTRA[,EXTRA...] [VERSION ...]
#
# The environment is .venv-<version>, or .venv-<NAME>-<version> where NAME is not "plugin", so that several
# interpreters live side by side. A stamp for each set of extras holds a checksum of what was installed from; nothing
# is done while it is right. Messages go to stderr.
set -euo pipefail
cd "$(dirname "$0")/.."

name=$1 extras=$2
shift 2

python=$(scripts/python.sh "$@")
version=$("$python" -c 'import sys; print("%d.%d" % sys.version_info[:2])')
case $name in
    plugin) venv=.venv-$version ;;
    *) venv=.venv-$name-$version ;;
esac
stamp=$venv/.installed-${extras//,/-}
wanted="$python $(cksum pyproject.toml requirements.txt | cksum)"

if [ -x "$venv/bin/python" ] && [ "$(cat "$stamp" 2>/dev/null)" = "$wanted" ]; then
    echo "$PWD/$venv/bin/python"
    exit 0
fi

# The path of the interpreter leads every stamp: another interpreter of the same version means a new environment.
if ! "$venv/bin/python" -c '' 2>/dev/null || ! grep -qsF "$python " "$venv"/.installed-*; then
    echo "Making $venv with $python" >&2
    rm -rf "$venv"
    "$python" -m venv "$venv"
fi

# pip says hundreds of lines; each becomes a dot, and what it had to complain of is shown when it fails.
echo "Installing the project's [$extras] extras into $venv (the first time takes a minute or more)" >&2
if ! "$venv/bin/python" -m pip install --disable-pip-version-check --no-input --progress-bar off -e ".[$extras]" \
    2>"$venv/pip-stderr.txt" </dev/null |
    awk '/^ *(Collecting|Installing)/ { printf "."; fflush() } END { print "" }' >&2; then
    cat "$venv/pip-stderr.txt" >&2
    echo "Installing into $venv failed; pip says why above." >&2
    exit 1
fi
echo "$wanted" >"$stamp"
echo "$PWD/$venv/bin/python"
