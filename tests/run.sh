#!/usr/bin/env bash
# Install, build and run the tests.
#   bash tests/run.sh [--setup | --all | --aarch64] [ctest options]
# --setup stops after installing and building into build/. --all adds what takes many minutes: whether a small run learns, real
# videos of a dozen codecs frame by frame against ffmpeg, more faults, other versions of HDF5, what nvcc makes of the kernels for
# GPUs. About twenty minutes on two cores without it. Some of these tests download Debian packages (e2e_learn, e2e_real_videos:
# 205 MB) or Python's (hdf5_versions: 15 MB); without network they are skipped. --aarch64 instead builds for ARM processors, in
# build-aarch64, and runs that build's tests on an emulator: for nights.
set -euo pipefail
cd "$(dirname "$0")/.."
what=(-LE long)
case ${1:-} in
--help) sed -n '2,/^set/s/^# \{0,1\}//p' "$0"; exit 0 ;;
--setup) what=(); shift; setup_only=1 ;;
--all) what=(); shift ;;
--aarch64)
    shift
    bash jobs/setup.sh aarch64
    exec ctest --preset aarch64 "$@"
    ;;
esac
bash jobs/setup.sh dev
if [ -n "${setup_only:-}" ]; then exit 0; fi
# shellcheck source=jobs/mpi_env.sh
. jobs/mpi_env.sh
# Three at a time on two cores: many tests wait for kills, leases and other processes most of the time.
ctest --test-dir build --output-on-failure --no-tests=error -j 3 "${what[@]}" "$@"
