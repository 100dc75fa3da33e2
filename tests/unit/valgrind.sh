#!/usr/bin/env bash
# Runs a unit test under valgrind: valgrind.sh PROGRAM. It uses only the portable kernels, because valgrind does not know AVX-512, and
# not the large shapes. Reading after the end of an array is an error too (kernel_test.h).
set -euo pipefail
command -v valgrind >/dev/null || { echo "skipped: valgrind is missing"; exit 77; }
export VJ_TEST_ISA=portable VJ_ISA=portable VJ_TEST_SLOW=1
exec valgrind --error-exitcode=9 --exit-on-first-error=yes -q "$1"
