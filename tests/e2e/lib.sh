# shellcheck shell=bash
# Sourced by the end-to-end tests: a scratch folder, the programs, a small store, and checks that say what they saw.
set -euo pipefail
bin=${VJEPA_BIN:?run through ctest, or set VJEPA_BIN to build/bin}
source_dir=${VJEPA_SOURCE:?run through ctest, or set VJEPA_SOURCE to the checkout}
tools=$bin/../tests
tiny=$source_dir/tests/data/tiny.yaml
scratch=$(mktemp -d "${TMPDIR:-/tmp}/vjepa-e2e.XXXXXX")
trap 'rm -rf "$scratch"' EXIT
cd "$scratch"
failures=0

run() { # RANKS COMMAND...
    local ranks=$1
    shift
    timeout 100 mpirun -n "$ranks" "$@"
}

fail() {
    echo "FAIL: $*" >&2
    failures=$((failures + 1))
}

finish() {
    if ((failures)); then
        echo "$failures checks failed" >&2
        exit 1
    fi
    echo "all checks passed"
}

make_store() { # OUT COUNT [FIRST]
    run 1 "$tools/make_store" "$1" "$2" 4 36 40 "${3:-0}"
}
