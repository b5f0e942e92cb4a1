#!/bin/sh
# Runs this bundle's sweep again and compares every number with those that lie beside this script.
#
#   ./reproduce.sh CODE [RESULTS]
#
# CODE     a checkout of the program (see BUNDLE.md for commit and difference), set up in CODE/.venv;
#          with PYTHON=/path/to/python another environment is taken
# RESULTS  where the new results go; default: again/ beside this script
set -eu
bundle=$(cd "$(dirname "$0")" && pwd)
[ $# -ge 1 ] || { sed -n '4,8s/^# \{0,1\}//p' "$0"; exit 2; }
code=$(cd "$1" && pwd)
results=${2:-$bundle/again}
case $results in /*) ;; *) results=$PWD/$results ;; esac
python=${PYTHON:-$code/.venv/bin/python}
recorded="@GIT_SHA@"
present=$(git -C "$code" describe --always --abbrev=40 --dirty --exclude='*' 2>/dev/null || echo unknown)
if [ "$present" != "$recorded" ]; then
  echo "note: the code is at $present; the numbers were made with $recorded" >&2
fi
if grep -qs '"decision": "proposals"' "$bundle/decisions.jsonl" && [ ! -e "$results" ]; then
  mkdir -p "$results"  # a search goes by measured latency: what it proposed is taken as it was
  grep '"decision": "proposals"' "$bundle/decisions.jsonl" > "$results/decisions.jsonl"
fi
cd "$code"
PYTHONPATH=$code "$python" tune_main.py "$bundle/sweep.yaml" --results "$results"
exec "$python" "$bundle/compare_numbers.py" "$bundle" "$results"
