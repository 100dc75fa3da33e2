#!/usr/bin/env bash
# Install, build and run all tests.
#   bash tests/run.sh [--setup] [ctest options]     # --setup stops after installing and building into build/
set -euo pipefail
cd "$(dirname "$0")/.."
setup_only=
if [ "${1:-}" = --setup ]; then setup_only=1; shift; fi
bash jobs/setup.sh dev
if [ -n "$setup_only" ]; then exit 0; fi
# shellcheck source=jobs/mpi_env.sh
. jobs/mpi_env.sh
ctest --test-dir build --output-on-failure --no-tests=error "$@"
