#!/usr/bin/env bash
# Checks that if /dev/shm is too small for what the ranks of a node share, or large enough for only one of two windows that are opened
# at the same time, sums go through MPI, which is said once, training ends in the same checkpoint, and nothing is left in /dev/shm.
# shellcheck source=tests/e2e/lib.sh
. "$(dirname "$0")/lib.sh"
unshare -m sh -c 'mount --make-rprivate / && mount -t tmpfs -o size=64k small /dev/shm' 2>/dev/null || { echo "skipped: this user may not mount a small /dev/shm (unshare -m)"; exit 77; }
make_store train.clips 120
tensor=(--set parallel.tensor=2 --set model.heads=4)
mkdir mpi
export OMPI_MCA_btl_vader_backing_directory=$scratch/mpi # Open MPI's own files are not in /dev/shm

small() { # SIZE RANKS DIR [ARGS]: pretrain() with /dev/shm of SIZE; what is left there goes to DIR.left
    unshare -m bash -c '
        mount --make-rprivate / && mount -t tmpfs -o size="$1" small /dev/shm
        ranks=$2 bin=$3 tiny=$4 dir=$5
        shift 5
        timeout 120 mpirun -n "$ranks" "$bin/vjepa-pretrain" "$tiny" --set run.dir="$dir" --set train.epochs=1 "$@"
        code=$?
        ls -A /dev/shm >"$dir.left"
        exit $code' small "$1" "$2" "$bin" "$tiny" "$3" "${@:4}" >"$3.log" 2>&1
}
check() { # DIR LIKE WARNINGS_FROM WARNINGS_TO: same checkpoint, this many warnings, nothing left
    local step said
    step=$(basename "$(compgen -G "$2/step_*.h5" | tail -n 1)")
    "$bin/vjepa-inspect" --compare "$2/$step" "$1/$step" >compare.log || fail "$1 differs from $2: $(tail -n 3 compare.log)"
    said=$(grep -c 'no shared memory (/dev/shm of .* bytes for each of .* are needed, [0-9]* are free' "$1.log" || true)
    if [ "$said" -lt "$3" ] || [ "$said" -gt "$4" ]; then fail "$1: $said warnings, not $3 to $4: $(tail -n 5 "$1.log")"; fi
    [ ! -s "$1.left" ] || fail "$1 left in /dev/shm: $(cat "$1.left")"
}

small 1g 2 enough || fail "2 ranks: $(tail -n 5 enough.log)"
check enough enough 0 0
code=0
small 64k 2 none || code=$?
[ "$code" -eq 0 ] || fail "2 ranks with 64 KiB of /dev/shm end with $code: $(tail -n 5 none.log)"
check none enough 1 3 # one for each window

small 1g 4 two "${tensor[@]}" || fail "4 ranks: $(tail -n 5 two.log)"
code=0
small 6m 4 one "${tensor[@]}" || code=$?
[ "$code" -eq 0 ] || fail "4 ranks with /dev/shm for some of their windows end with $code: $(tail -n 5 one.log)"
check one two 1 6

# If there is not even room for the tables of the stores each rank has its own, which is said once.
code=0
small 4k 2 tables || code=$?
[ "$code" -eq 0 ] || fail "2 ranks with 4 KiB of /dev/shm end with $code: $(tail -n 5 tables.log)"
check tables enough 1 3
[ "$(grep -c 'does not take the tables of the clip stores, .*: No space left' tables.log)" -eq 1 ] ||
    fail "the tables' place is not said once: $(grep tables tables.log)"
finish
