#!/usr/bin/env bash
# tests/fuzz/run.sh [--seconds N] [READER...]: fuzz all readers (or these), one after another, N seconds each (60).
#
# Needs the preset fuzz: cmake --preset fuzz && cmake --build --preset fuzz. Prints a table and exits 1 if anything was
# found; findings and the grown corpora stay in build-fuzz/fuzz, from where the next run goes on.
set -uo pipefail
cd "$(dirname "$0")/../.." || exit 1
build=${VJEPA_FUZZ_BUILD:-build-fuzz}
seconds=60
if [ "${1:-}" = --seconds ]; then
    seconds=$2
    shift 2
fi
readers=("$@")
if [ $# = 0 ]; then
    for program in "$build"/tests/fuzz_*; do
        [ -x "$program" ] || { echo "no harness in $build/tests: cmake --preset fuzz && cmake --build --preset fuzz" >&2; exit 1; }
        reader=${program##*/fuzz_}
        [ "$reader" = hdf5 ] || readers+=("$reader") # HDF5's own parser: only when asked for
    done
fi
# shellcheck source=jobs/mpi_env.sh
. jobs/mpi_env.sh
TMPDIR=$(mktemp -d "$([ -w /dev/shm ] && echo /dev/shm || echo /tmp)/vjepa-fuzz-run-XXXXXX")
export TMPDIR
trap 'rm -rf "$TMPDIR"' EXIT
export UBSAN_OPTIONS=print_stacktrace=1

# Memory and time that no small input may take.
limits=(-rss_limit_mb=1500 -malloc_limit_mb=256 -timeout=10)
found=0
printf '%-12s %10s %8s %9s %9s %7s %9s\n' reader executions exec/s coverage features corpus findings
for reader in "${readers[@]}"; do
    at=$build/fuzz/$reader
    mkdir -p "$at/seeds" "$at/corpus" "$at/findings"
    "$build/tests/replay_$reader" --seeds "$at/seeds" >"$at/seeds.log" 2>&1 || { cat "$at/seeds.log"; exit 1; }
    leaks=1
    [ "$reader" = hdf5 ] && leaks=0 # HDF5 leaks what it has read of a damaged file
    dictionary=()
    [ -f "tests/fuzz/$reader.dict" ] && dictionary=("-dict=tests/fuzz/$reader.dict")
    ASAN_OPTIONS=detect_leaks=$leaks nice -n 19 "$build/tests/fuzz_$reader" "${limits[@]}" -detect_leaks=$leaks \
        -max_total_time="$seconds" -max_len=4096 -print_final_stats=1 \
        -artifact_prefix="$at/findings/" "${dictionary[@]}" "$at/corpus" "$at/seeds" >"$at/log" 2>&1 </dev/null
    status=$?
    executions=$(sed -n 's/^stat::number_of_executed_units: *//p' "$at/log" | tail -1)
    last=$(grep -E '^#[0-9]+.* cov: ' "$at/log" | tail -1)
    number() { sed -n "s/.* $1: \([0-9]*\).*/\1/p" <<<"$last"; }
    corpus=$(find "$at/corpus" -type f | wc -l)
    findings=$(find "$at/findings" -type f | wc -l)
    [ $status != 0 ] && [ "$findings" = 0 ] && findings=crash
    printf '%-12s %10s %8s %9s %9s %7s %9s\n' "$reader" "${executions:-?}" "$(((${executions:-0}) / seconds))" \
        "$(number cov)" "$(number ft)" "$corpus" "$findings"
    [ "$findings" = 0 ] || found=1
done
[ $found = 0 ] || echo "findings: $build/fuzz/*/findings, what the last one said: $build/fuzz/*/log" >&2
exit $found
