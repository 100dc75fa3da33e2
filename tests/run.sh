#!/usr/bin/env bash
# Install, build and run all tests.
#   bash tests/run.sh [--setup] [ctest options]     # --setup stops after installing and building into build/
# About a quarter of an hour on two cores. Two tests (e2e_learn, e2e_real_videos) download 205 MB of Debian packages; without network they are skipped.
# Not among them: ctest --test-dir build -L hdf5, which runs the programs with other versions of HDF5 (15 MB of downloads).
set -euo pipefail
cd "$(dirname "$0")/.."
setup_only=
if [ "${1:-}" = --help ]; then sed -n '2,5s/^# \{0,1\}//p' "$0"; exit 0; fi
if [ "${1:-}" = --setup ]; then setup_only=1; shift; fi
bash jobs/setup.sh dev
if [ -n "$setup_only" ]; then exit 0; fi
# shellcheck source=jobs/mpi_env.sh
. jobs/mpi_env.sh
ctest --test-dir build --output-on-failure --no-tests=error -j 2 -LE '^hdf5$' "$@"
