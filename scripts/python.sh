#!/usr/bin/env bash
# Prints the path of a Python that really runs here and can make a virtual environment.
#
# Usage: scripts/python.sh [VERSION ...]     versions in the order wanted; 3.12 (Dify's own), 3.13, 3.11 by default
#
# PYTHON=<path or name> comes first. One that cannot run, or is none of the supported versions, is an error and not
# passed over; one that is sound but not among VERSION leaves the search to go on.
set -u

supported="3.12 3.13 3.11"
wanted=${*:-$supported}

# A shim or a half-installed interpreter can be on PATH and still fail, so each candidate has to run.
# Prints "<version> <path>".
try() {
    "$1" -c '
import ensurepip, sys, venv
print("%d.%d" % sys.version_info[:2], sys.executable)
' 2>/dev/null </dev/null
}

if [ -n "${PYTHON:-}" ]; then
    if ! found=$(try "$PYTHON") || [ -z "$found" ]; then
        echo "PYTHON=$PYTHON does not run, or lacks the venv and ensurepip modules." >&2
        "$PYTHON" -c 'import ensurepip, venv' </dev/null 2>&1 | tail -n 3 >&2
        exit 1
    fi
    version=${found%% *}
    case " $supported " in
        *" $version "*) ;;
        *)
            echo "PYTHON=$PYTHON is Python $version; this project runs on 3.11, 3.12 and 3.13." >&2
            exit 1
            ;;
    esac
    case " $wanted " in
        *" $version "*)
            echo "${found#* }"
            exit 0
            ;;
    esac
fi

candidates() { # version -> one path a line
    type -aP "python$1"
    for path in "${PYENV_ROOT:-$HOME/.pyenv}/versions/$1."[0-9]*/bin/python; do
        [ -x "$path" ] && echo "$path"
    done
    type -aP python3 python
}

for version in $wanted; do
    while IFS= read -r path; do
        if found=$(try "$path") && [ "${found%% *}" = "$version" ]; then
            echo "${found#* }"
            exit 0
        fi
    done < <(candidates "$version")
done

{
    echo "No Python ${wanted// / or } was found that runs and has the venv and ensurepip modules."
    echo "Looked for python3.x and python3 on PATH and in ${PYENV_ROOT:-~/.pyenv}/versions."
    echo "Install one (Debian, Ubuntu: apt install python3.12 python3.12-venv; macOS: brew install python@3.12; any: pyenv install 3.12),"
    echo "or name one: make PYTHON=/path/to/python3.12 …"
} >&2
exit 1
