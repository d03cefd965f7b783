#!/usr/bin/env bash
# Runs every static check with the given Python and names those that failed; one failure does not hide the next.
set -u
cd "$(dirname "$0")/.."

python=$1
failed=()

check() { # name, command …
    local name=$1
    shift
    echo "== $name"
    "$@" || failed+=("$name")
}

check "ruff check" "$python" -m ruff check --extend-exclude '.venv*' .
check "ruff format" "$python" -m ruff format --check --extend-exclude '.venv*' .
# The flag names modules by their folders: several test folders have a conftest.py.
check "mypy" "$python" -m mypy --explicit-package-bases
check "import rules" "$(dirname "$python")/lint-imports" --no-cache --no-logo
[ ${#failed[@]} -eq 0 ] && exit 0

echo "Failed: ${failed[*]}" >&2
exit 1
