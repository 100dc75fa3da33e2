# shellcheck shell=bash
# Sourced by the end-to-end tests: a scratch folder, the programs, a small store, and checks that say what they saw.
set -euo pipefail
bin=${VJEPA_BIN:?run through ctest, or set VJEPA_BIN to build/bin}
source_dir=${VJEPA_SOURCE:?run through ctest, or set VJEPA_SOURCE to the checkout}
tools=$bin/../tests
tiny=$source_dir/tests/data/tiny.yaml
scratch=$(mktemp -d "${TMPDIR:-/tmp}/vjepa-e2e.XXXXXX")
cd "$scratch"
failures=0

# What ends a test before finish() is said on the test's own standard error, wherever the failed command's went.
exec 8>&2
clean_up() { :; } # a test that leaves more than files has another one
leave() { # CODE
    [[ ${finished:-} || $1 == 77 ]] || echo "FAIL: the test ended with $1 at: $BASH_COMMAND" >&8
    cd /
    clean_up
    rm -rf "$scratch"
}
trap 'leave $?' EXIT

# Open MPI's folder (tests/own_folder.sh); jobs that a test starts at the same time have one each. Other users may write to it.
mkdir -m 1777 .mpi
export OMPI_MCA_orte_tmpdir_base=$scratch/.mpi

shim=${VJEPA_SHIM:-$tools/libfault_shim.so}
export ASAN_OPTIONS=${ASAN_OPTIONS:+$ASAN_OPTIONS:}verify_asan_link_order=0 # the shim is loaded before the sanitizer

# Run a command on this many ranks. With VJ_FAULT set, a rank has this fault (tests/faults/shim.c).
run() { # RANKS COMMAND...
    local ranks=$1 preload=()
    shift
    [ -z "${VJ_FAULT:-}" ] || preload=(-x LD_PRELOAD="$shim" -x VJ_FAULT)
    OMPI_MCA_orte_tmpdir_base=$scratch/.mpi/$BASHPID timeout 600 mpirun -n "$ranks" "${preload[@]}" "$@"
}

pretrain() { # RANKS DIR [ARGS]
    local ranks=$1 dir=$2
    shift 2
    run "$ranks" "$bin/vjepa-pretrain" "$tiny" --set run.dir="$dir" "$@"
}

# Run a command that is killed with -9 when its first rank makes the K-th call of a kind on a path with TEXT.
killed_at() { # "CALL TEXT K" COMMAND...
    if VJ_FAULT="0 $1 kill" "${@:2}" >killed.log 2>&1 || ! grep -aq '^fault: ' killed.log; then
        fail "not killed at $1: $(cat killed.log)"
    fi
}

# A run that is killed when its second, third or fourth checkpoint gets its name.
pretrain_killed() { # RANKS DIR [ARGS]
    killed_at "rename /step_ $((RANDOM % 3 + 2))" pretrain "$@"
    compgen -G "$2/step_*.h5" >/dev/null && [ ! -e "$2/complete" ] || fail "the run was not killed in the middle: $(cat killed.log)"
}

# Check that a command ends with this exit code and prints these words; its output stays in refused.log. After wrong settings the
# launcher must not print anything about an abort.
refused() { # STATUS WORDS COMMAND...
    local want=$1 words=$2 status=0
    shift 2
    "$@" >refused.log 2>&1 || status=$?
    [[ $status == "$want" ]] || fail "exit $status, not $want: $*: $(cat refused.log)"
    grep -q -- "$words" refused.log || fail "no '$words' in: $(cat refused.log)"
    if [ "$want" = 2 ] && grep -q MPI_ABORT refused.log; then fail "a wrong setting ends with the launcher's words: $(cat refused.log)"; fi
}

fail() {
    echo "FAIL: $*" >&2
    failures=$((failures + 1))
}

same_heads() { # A B, folders of vjepa-evaluate: B's heads have the bits of A's, which may have more; so have their predictions
    /usr/bin/python3 - "$1" "$2" <<'PYTHON' || fail "$2 has other bits than $1"
import sys, h5py
for name in "evaluation.h5", "predictions.h5":
    a, b = (h5py.File(f"{folder}/{name}")["heads"] for folder in sys.argv[1:3])
    other = [head for head in b if a[head][()].tobytes() != b[head][()].tobytes()]
    if other or not len(b):
        sys.exit(f"{name}: {len(other)} of {len(b)} heads differ: {other[:3]}")
PYTHON
}

finish() {
    finished=1
    if ((failures)); then
        echo "$failures checks failed" >&2
        exit 1
    fi
    echo "all checks passed"
}

# For tests of vjepa-spectrum: skip the test if it was not built or Python lacks a module; python() finds this folder's modules.
here=$source_dir/tests/e2e
needs_spectrum() {
    [[ -x $bin/vjepa-spectrum ]] || { echo "skipped: built without ScaLAPACK"; exit 77; }
    /usr/bin/python3 -c 'import h5py, numpy' 2>/dev/null || { echo "skipped: no h5py or numpy"; exit 77; }
}
python() { PYTHONDONTWRITEBYTECODE=1 PYTHONPATH=$here /usr/bin/python3 "$@"; }

make_store() { # OUT COUNT [FIRST]
    run 1 "$tools/make_store" "$1" "$2" 4 36 40 "${3:-0}"
}
