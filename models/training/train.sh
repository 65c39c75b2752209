#!/bin/sh
# From nothing to the shipped models: a virtual environment with pinned packages, then recipe.py.
#     models/training/train.sh [all | one or more steps of recipe.py]
set -eu
cd "$(dirname "$0")"

if ! python3 -c 'import ctypes; ctypes.CDLL("libespeak-ng.so.1")' 2>/dev/null; then
    echo "espeak-ng's library is missing. Debian, Ubuntu: apt-get install libespeak-ng1 espeak-ng-data" >&2
    exit 1
fi
if [ ! -x .venv/bin/python ]; then
    python3 -m venv .venv
fi
.venv/bin/python -m pip install --quiet --requirement requirements.txt
exec .venv/bin/python recipe.py "${@:-all}"
